"""The commands as a user types them: member, doctor, explain, iis."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from certshelf.cli.main import run
from certshelf.manage.iis import shelf_for, store_for
from certshelf.manage.manager import open_manager
from tests.support.certificates import bundle
from tests.support.powershell import syntax_errors
from tests.support.tls_server import tls_server


class Cli:
    """Runs commands on a home of its own and keeps what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self.capsys, self.folder = capsys, folder

    def __call__(self, *arguments: object, status: int = 0) -> str:
        self.capsys.readouterr()
        answer = run([str(argument) for argument in arguments])
        said = self.capsys.readouterr()
        assert answer == status, (arguments, said.out, said.err)
        self.err = said.err
        return said.out

    def json(self, *arguments: object, status: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", status=status))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    made = Cli(capsys, tmp_path)
    made("init", "--store", tmp_path / "shelf")
    made("cert", "add", "www.example.com", "bücher.example.com", "--name", "shop")
    made("cert", "request", "shop")
    return made


def red(found: list[dict[str, str]]) -> list[str]:
    return sorted({f["id"] for f in found if f["severity"] in ("error", "warning")})


def published(cli: Cli) -> Any:
    from certshelf import open_shelf
    from certshelf.names import HostName

    found = open_shelf().find(HostName.parse("www.example.com"))
    assert found is not None
    return found.file.bundle


def an_hour_later(cli: Cli) -> None:
    """The files of the shelf are no news to any server."""
    for file in (cli.folder / "shelf").glob("*.pfx"):
        os.utime(file, (file.stat().st_atime, file.stat().st_mtime - 3600))


def test_a_new_home_is_green(cli: Cli) -> None:
    found = cli.json("doctor")
    assert red(found) == []
    assert {"id", "severity", "subject", "what", "why", "do"} <= set(found[0])


def test_members_come_and_go(cli: Cli) -> None:
    cli("member", "add", "web1", "web1.example.com:8443", "--kind", "nginx", "--group", "a")
    (row,) = cli.json("member", "ls")
    assert (row["name"], row["host"], row["port"]) == ("web1", "web1.example.com", 8443)
    assert "web1.example.com" in cli("member", "ls")
    cli("member", "add", "web1", "--kind", "iis", status=1)
    cli("member", "rm", "web1")
    assert cli.json("member", "ls") == []
    cli("member", "rm", "web1", status=1)


@pytest.mark.parametrize("address", ["host:0", "host:port", "a b:443", "*:443", "http://x:443"])
def test_an_address_that_is_none_is_refused(cli: Cli, address: str) -> None:
    cli("member", "add", "web1", address, "--kind", "nginx", status=1)
    assert "error: no address of a server" in cli.err


def test_a_member_that_serves_the_shelf_is_current(cli: Cli, tmp_path: Path) -> None:
    with tls_server(published(cli), tmp_path) as port:
        cli("member", "add", "web1", f"127.0.0.1:{port}", "--kind", "python")
        found = cli.json("doctor", "--only", "served")
        story = cli.json("explain", "www.example.com")
    assert [f["id"] for f in found] == ["served-current"] * 2
    assert [m["verdict"] for m in story["members"]] == ["current"]
    assert story["file"]["file"] == "www.example.com.pfx"
    assert story["certificate"]["name"] == "shop"


def test_a_member_that_serves_something_else_is_red_and_explained(cli: Cli, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    dates = {"not_before": now - timedelta(days=1), "not_after": now + timedelta(days=1)}
    with tls_server(bundle("default.example.org", **dates), tmp_path) as port:
        cli("member", "add", "web1", f"127.0.0.1:{port}", "--kind", "nginx")
        assert red(cli.json("doctor")) == []  # it may not have looked yet
        an_hour_later(cli)
        found = cli.json("doctor", status=1)
        text = cli("explain", "bücher.example.com")  # by its record it was written just now
        report = cli("doctor", status=1)
    assert red(found) == ["served-default-certificate"]
    assert "xn--bcher-kva.example.com.pfx  there" in text
    assert "bücher.example.com.pfx  there" in text
    assert "do: " in text
    assert "ERROR    served-default-certificate" in report


def test_a_member_that_does_not_answer_is_red(cli: Cli) -> None:
    cli("member", "add", "web1", "127.0.0.1:1", "--kind", "nginx")
    assert red(cli.json("doctor", "--only", "served", status=1)) == ["served-no-answer"]


def test_bindings_are_compared_with_the_shelf(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "nginx.conf"
    file.write_text("http { server { listen 443 ssl; server_name new.example.com; } }")
    cli("member", "add", "web1", "--kind", "nginx", "--bindings", file)
    found = cli.json("doctor", status=1)
    assert red(found) == ["binding-without-file"]
    assert [f["subject"] for f in found if f["id"] == "file-without-binding"] != [""]


def test_a_file_of_another_tool_is_said_and_not_red(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "shelf" / "broken.example.com.pfx").write_bytes(b"nothing")
    assert red(cli.json("doctor", status=1)) == ["pfx-unreadable"]
    assert red(cli.json("doctor", "--only", "expired")) == []


def test_a_shelf_that_is_gone_is_red(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "shelf").rename(tmp_path / "elsewhere")
    assert red(cli.json("doctor", status=1)) == ["shelf-reachable"]


@pytest.mark.skipif("__import__('os').name != 'posix'")
def test_a_database_that_others_may_read_is_red(cli: Cli, own_home: Path) -> None:
    (own_home / "certshelf" / "certshelf.db").chmod(0o644)
    assert red(cli.json("doctor", status=1)) == ["key-file-mode"]


def test_a_secret_in_the_settings_is_red_and_not_printed(cli: Cli, own_home: Path) -> None:
    with (own_home / "certshelf" / "certshelf.toml").open("a", encoding="utf-8") as file:
        file.write('\n# old_password = "hunter2"\n')
    text = cli("doctor", status=1)
    assert "config-secret" in text
    assert "hunter2" not in text


def test_junit_counts_what_is_red(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "shelf" / "broken.example.com.pfx").write_bytes(b"nothing")
    suite = ET.fromstring(cli("doctor", "--junit", status=1))
    assert suite.get("failures") == "1"
    assert int(suite.get("tests", "0")) == len(suite.findall("testcase")) > 20


def test_an_unknown_check_is_refused(cli: Cli) -> None:
    cli("doctor", "--only", "nonsense", status=1)
    assert "hint: certshelf doctor --list" in cli.err
    assert "binding-hides-store" in cli("doctor", "--list")


def test_explain_a_name_without_a_file(cli: Cli) -> None:
    text = cli("explain", "new.example.com", status=1)
    assert "new.example.com.pfx  not there" in text
    assert "_.example.com.pfx  not there" in text


# --- iis

CONFIG = """<configuration><system.applicationHost><sites>
<site name="Shop"><bindings>
<binding protocol="https" bindingInformation="*:443:www.example.com" sslFlags="1" />
<binding protocol="https" bindingInformation="*:443:" sslFlags="0" />
</bindings></site></sites></system.applicationHost></configuration>"""


def test_iis_plan_writes_scripts_that_parse(cli: Cli, tmp_path: Path) -> None:
    config = tmp_path / "applicationHost.config"
    config.write_text(CONFIG)
    out = tmp_path / "scripts"
    cli(
        *("iis", "plan", "WEB1", "--store", r"\\files\certs", "--reader", r"FARM\ccs"),
        *("--bindings", config, "--convert", "--bind", "Books=bücher.example.com", "--out", out),
    )
    assert "left alone: Shop" in cli.err
    scripts = sorted(path.name for path in out.iterdir())
    assert scripts == ["WEB1-check.ps1", "WEB1-setup.ps1", "WEB1-undo.ps1"]
    for path in out.iterdir():
        assert syntax_errors(path.read_text("ascii")) == []
    assert "www.example.com" in (out / "WEB1-setup.ps1").read_text("ascii")


def test_iis_plan_without_a_windows_path_says_what_to_give(cli: Cli) -> None:
    cli("iis", "plan", "WEB1", "--reader", "ccs", status=1)
    assert r"\\server\share" in cli.err


def test_iis_plan_without_a_server_is_for_every_declared_iis(cli: Cli, tmp_path: Path) -> None:
    cli("iis", "plan", "--reader", "ccs", status=2)
    assert "no IIS is declared" in cli.err
    for name in ("web1", "web2"):
        cli("member", "add", name, "--kind", "iis", "--windows", "2022")
    cli("member", "add", "proxy", "--kind", "nginx")
    words = ("iis", "plan", "--store", r"\\files\certs", "--reader", "ccs")
    cli(*words, status=2)
    cli(*words, "--out", tmp_path, "--bind", "Shop=www.example.com", status=2)
    cli(*words, "--out", tmp_path / "scripts")
    wanted = [f"web{n}-{what}.ps1" for n in (1, 2) for what in ("check", "setup", "undo")]
    assert sorted(path.name for path in (tmp_path / "scripts").iterdir()) == wanted


def test_a_server_of_a_group_is_planned_and_judged_by_the_groups_shelf(
    cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "edge").mkdir()
    cli("group", "add", "edge", "--store", tmp_path / "edge")
    cli("member", "add", "web1", "web1.example.com", "--kind", "iis", "--group", "edge")
    with open_manager(None) as manager:
        assert store_for(manager, "WEB1").endswith("edge")
        assert store_for(manager, "web1.example.com").endswith("edge")
        assert store_for(manager, "web9").endswith("shelf")
        assert shelf_for(manager, "WEB1").store.url != manager.shelf.store.url


def test_iis_bindings_tells_the_kind_by_itself(cli: Cli, tmp_path: Path) -> None:
    config = tmp_path / "site"
    config.write_text(CONFIG)
    rows = cli.json("iis", "bindings", config)
    assert [(r["host"], r["flags"]) for r in rows] == [("www.example.com", 1), ("", 0)]
    assert "www.example.com" in cli("iis", "bindings", config)


def test_iis_status_reads_what_the_check_script_wrote(cli: Cli, tmp_path: Path) -> None:
    answer = tmp_path / "answer.json"
    provider = {"enabled": False, "location": "", "user": "", "has_password": False}
    data = {
        "format": 1,
        "server": "WEB1",
        "account": "a",
        "windows": "10.0.20348.0",
        "feature": True,
        "provider": {**provider, "has_key_password": False, "polling": None},
        "http_sys": None,
        "bindings": {"rows": None},
        "store": {"ok": True},
        "reader": None,
        "pfx": None,
    }
    for encoding in ("utf-8-sig", "utf-16"):
        answer.write_text(json.dumps(data), encoding=encoding)
        found = cli.json("iis", "status", "WEB1", "--from", answer, status=1)
        assert [f["id"] for f in found] == ["iis-provider"]
        assert red(cli.json("doctor", "--iis-answer", answer, status=1)) == ["iis-provider"]


def test_iis_check_script_is_printed(cli: Cli) -> None:
    assert syntax_errors(cli("iis", "check-script", "WEB1")) == []


def test_a_servers_bindings_seed_managed_certificates(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "nginx.conf"
    site = "server { listen 443 ssl; server_name %s; }"
    file.write_text(site % "a.example.org b.example.org _" + site % "c.example.org")
    cli("cert", "add", "--from-bindings", file)
    hosts = {row["name"]: row["hosts"] for row in cli.json("cert", "ls")}
    assert hosts["a.example.org"] == ["a.example.org", "b.example.org"]
    assert hosts["c.example.org"] == ["c.example.org"]
    cli("cert", "add", "--from-bindings", file, "d.example.org", status=2)
    cli("cert", "add", status=2)


def test_traefiks_routers_seed_certificates_and_a_python_server_has_no_names(
    cli: Cli, tmp_path: Path
) -> None:
    routes = tmp_path / "traefik-routes.toml"
    routes.write_text("[http.routers.new]\nrule = 'Host(`new.example.org`)'\ntls = {}\n")
    cli("cert", "add", "--from-bindings", routes)
    assert "new.example.org" in {row["name"] for row in cli.json("cert", "ls")}
    app = tmp_path / "hypercorn.toml"
    app.write_text('bind = "0.0.0.0:443"\ncertfile = "c.pem"\nkeyfile = "k.pem"\n')
    assert [r["port"] for r in cli.json("iis", "bindings", app)] == [443]
    cli("cert", "add", "--from-bindings", app, status=1)
    assert "no TLS binding with a host name" in cli.err
    cli("member", "add", "py1", "--kind", "python", "--bindings", app)
    assert red(cli.json("doctor")) == []


def test_a_member_is_compared_with_the_shelf_of_its_group(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "edge").mkdir()
    cli("group", "add", "edge", "--store", tmp_path / "edge")
    cli("cert", "add", "www.example.com", "--name", "at-edge", "--group", "edge")
    cli("cert", "request", "at-edge")
    with tls_server(published(cli), tmp_path) as port:
        cli("member", "add", "main", f"127.0.0.1:{port}", "--kind", "python")
        cli("member", "add", "edge1", f"127.0.0.1:{port}", "--kind", "other", "--group", "edge")
        found = cli.json("doctor", "--only", "served", status=0)
        story = cli.json("explain", "www.example.com")
    by_subject = {f["subject"]: f["id"] for f in found}
    assert by_subject["main www.example.com"] == "served-current"
    assert by_subject["edge1 www.example.com (group edge)"] == "served-pending"
    verdicts = {m["member"]: m["verdict"] for m in story["members"]}
    assert verdicts == {"main": "current", "edge1": "pending"}


def test_a_bindings_file_that_is_gone_is_red(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "nginx.conf"
    file.write_text("http { server { listen 443 ssl; server_name www.example.com; } }")
    cli("member", "add", "web1", "--kind", "nginx", "--bindings", file)
    file.unlink()
    assert red(cli.json("doctor", status=1)) == ["bindings-unreadable"]


def test_a_damaged_database_is_a_finding_and_no_bare_error(cli: Cli, own_home: Path) -> None:
    (own_home / "certshelf" / "certshelf.db").write_bytes(b"no database" * 1000)
    assert red(cli.json("doctor", status=1)) == ["database"]
    cli("doctor", "--only", "nonsense", status=1)


@pytest.mark.skipif("__import__('os').name != 'posix'")
def test_an_open_key_file_is_the_only_thing_that_is_red(cli: Cli, own_home: Path) -> None:
    (own_home / "certshelf" / "keys.json").chmod(0o644)
    assert red(cli.json("doctor", status=1)) == ["key-file-mode"]

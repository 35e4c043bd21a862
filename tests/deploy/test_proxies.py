"""Tasks haproxy and nginx-reload against the real servers: what a client is shown afterwards."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from certshelf.deploy.haproxy import Haproxy
from certshelf.deploy.nginx_reload import NginxReload, served
from certshelf.errors import ConfigError, DeployError
from tests.support.bundles import make_bundle
from tests.support.ports import free_port
from tests.support.server_process import Process, tool
from tests.support.tasks import LEAF, NEWER, context
from tests.support.tls_probe import wait_until

pytestmark = pytest.mark.slow
NAME = "www.example.test"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a Unix socket's has at most 107 bytes."""
    made = Path(tempfile.mkdtemp(prefix="cs-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def haproxy(folder: Path, port: int) -> Iterator[Process]:
    if not tool("haproxy"):
        pytest.skip("no haproxy here: apt-get install haproxy")
    (folder / "site.pem").write_bytes(LEAF.to_pem())
    (folder / "list").write_text(f"{folder}/site.pem\n")
    (folder / "haproxy.cfg").write_text(
        f"global\n  stats socket {folder}/admin mode 600 level admin\n"
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n"
        f"frontend f\n  bind 127.0.0.1:{port} ssl crt-list {folder}/list\n"
        "  http-request return status 200\n"
    )
    process = Process(
        [tool("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")], folder / "haproxy.log"
    )
    process.wait_port(port)
    yield process
    process.stop()


def to_haproxy(folder: Path, **settings: str) -> Haproxy:
    return Haproxy.parse({"socket": f"{folder}/admin", "file": f"{folder}/site.pem", **settings})


def test_haproxy_serves_the_new_one_without_a_reload(
    haproxy: Process, folder: Path, port: int
) -> None:
    task = to_haproxy(folder)
    assert [p.outcome for p in task.preview(context(NEWER)).files] == ["replaced"]
    outcome = task.run(context(NEWER))
    assert outcome.ok, outcome
    assert served(f"127.0.0.1:{port}", NAME, 5) == NEWER.sha256
    assert "unchanged" in task.run(context(NEWER)).log


def test_haproxy_gets_a_file_that_is_new_to_it(haproxy: Process, folder: Path, port: int) -> None:
    task = to_haproxy(folder, file=f"{folder}/new.pem", crt_list=f"{folder}/list")
    fresh = make_bundle("fresh.test")
    now = replace(context(fresh), hosts=fresh.names)
    assert [p.outcome for p in task.preview(now).files] == ["new"]
    outcome = task.run(now)
    assert outcome.ok, outcome
    assert served(f"127.0.0.1:{port}", "fresh.test", 5) == fresh.sha256


def test_haproxy_that_is_away_keeps_what_it_had(haproxy: Process, folder: Path) -> None:
    task = to_haproxy(folder, socket=f"{folder}/none")
    outcome = task.run(context(NEWER))
    assert [str(one) for one in outcome.stale] == [f"{folder}/site.pem on HAProxy {folder}/none"]
    with pytest.raises(DeployError, match="does not answer"):
        task.preview(context(NEWER))


@pytest.mark.parametrize("file", ["", "a b", "a\nshow info", "a;show info", "<<x"])
def test_a_file_name_that_would_be_two_commands_is_refused(file: str) -> None:
    if not file:
        file = " "
    with pytest.raises(ConfigError):
        Haproxy.parse({"socket": "/x", "file": file})


@pytest.fixture
def nginx(folder: Path, port: int) -> Iterator[Process]:
    if not tool("nginx"):
        pytest.skip("no nginx here: apt-get install nginx-light")
    (folder / "site.pem").write_bytes(LEAF.to_pem())
    temps = "".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/e.log;\n"
        f"events {{}}\nhttp {{ access_log off; {temps} server {{ listen 127.0.0.1:{port} ssl;\n"
        f"ssl_certificate {folder}/site.pem; ssl_certificate_key {folder}/site.pem; }} }}\n"
    )
    process = Process(
        [tool("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")], folder / "nginx.log"
    )
    process.wait_port(port)
    yield process
    process.stop()


def reload(folder: Path, port: int) -> NginxReload:
    return NginxReload.parse(
        {
            "program": tool("nginx"),
            "prefix": str(folder),
            "config": str(folder / "nginx.conf"),
            "verify": f"127.0.0.1:{port}",
        }
    )


def test_nginx_serves_the_new_file_after_the_reload(
    nginx: Process, folder: Path, port: int
) -> None:
    (folder / "site.pem").write_bytes(NEWER.to_pem())
    assert served(f"127.0.0.1:{port}", NAME, 5) == LEAF.sha256
    outcome = reload(folder, port).run(context(NEWER))
    assert outcome.ok, outcome
    assert wait_until(lambda: served(f"127.0.0.1:{port}", NAME, 5) == NEWER.sha256)
    assert nginx.is_running


def test_nginx_with_a_broken_file_goes_on_with_the_old_one(
    nginx: Process, folder: Path, port: int
) -> None:
    (folder / "site.pem").write_bytes(NEWER.to_pem()[:100])
    outcome = reload(folder, port).run(context(NEWER))
    assert "status 1" in str(outcome.error)
    assert outcome.stale
    assert served(f"127.0.0.1:{port}", NAME, 5) == LEAF.sha256


def test_a_reload_that_serves_another_certificate_is_a_failure(
    nginx: Process, folder: Path, port: int
) -> None:
    outcome = reload(folder, port).run(context(NEWER, seconds=3))  # the file was never written
    assert "still shows another certificate" in str(outcome.error)

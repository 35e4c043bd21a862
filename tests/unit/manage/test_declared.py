"""certs.toml and the command line around it: apply, export, import."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.bundles import make_bundle
from tests.support.records import certificate

from certshelf.cli.main import run
from certshelf.deploy.triggers import Phase, Trigger
from certshelf.errors import ConfigError
from certshelf.manage import declared
from certshelf.manage.changes import Action, plan_changes
from certshelf.manage.declared import Declared
from certshelf.manage.importing import certify_csv
from certshelf.manage.model import ChallengeChoice, ManagedCertificate, Mode, Task
from certshelf.manage.settings import CertificateSettings
from certshelf.secret import Secret

DEFAULTS = CertificateSettings()
Cli = Callable[..., int]


def parse(text: str) -> list[Declared]:
    return declared.parse(text, "certs.toml", DEFAULTS)


def wishes(*certificates: ManagedCertificate) -> list[Declared]:
    return [Declared(one) for one in certificates]


FULL = certificate(
    "shop",
    "www.shop.test",
    "*.shop.test",
    fallbacks=("b",),
    key_type="rsa-2048",
    mode=Mode.SHELF_ONLY,
    tags=("a, b", 'c"d'),
    auto_renew=False,
    challenges=(ChallengeChoice("dns-01", "*.shop.test", {"dns": "exec", "x\n": "y"}, "token"),),
    comment='two\nlines "quoted" \x7f',
)
TASKS = (
    Task(0, "copy", "deploy-to-shelf", position=10, settings={"store": "/x"}, credential="share"),
    Task(
        0,
        "tell",
        "webhook",
        Phase.BEFORE,
        Trigger.SKIPPED,
        position=20,
        timeout_s=2.5,
        settings={"url": "https://a.test/", "body": {"n": 1, "list": [True, 1.5], "none": None}},
        skip_reason='the receiver is "away"',
    ),
)


ONE = "[[certificate]]\nname='a'\nhosts=['a.test']\n"
TASK = "[[certificate.tasks]]\ntype='wait'\nsettings={seconds=1}\n"


def test_what_is_written_is_read_back_the_same() -> None:
    wished = [*wishes(FULL), Declared(certificate("b"), TASKS)]
    assert parse(declared.to_toml(wished)) == wished


@given(st.text(), st.text(), st.text())
def test_any_text_is_written_so_that_toml_reads_it_back(a: str, b: str, c: str) -> None:
    wish = certificate("x", comment=a, tags=(b,), challenges=(ChallengeChoice("t", c, {a: b}),))
    try:
        (a + b + c).encode()
    except UnicodeEncodeError:
        return  # a lone surrogate is no text of any file
    settings = {"url": "https://a.test/", "body": {a: b, "list": [c]}}
    task = Task(0, "t", "webhook", position=10, settings=settings, skip_reason=c)
    one = Declared(wish, (task,))
    assert parse(declared.to_toml([one])) == [one]


def test_the_csv_is_what_certifys_import_reads(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(declared.to_csv(wishes(FULL)))
    (found,) = certify_csv.read(tmp_path / "c.csv")
    assert (found.name, found.hosts, found.auto_renew) == ("shop", FULL.hosts, False)
    assert found.key_type == "rsa-2048"


def test_the_json_is_the_same_as_the_toml() -> None:
    wished = [Declared(FULL, TASKS)]
    text = declared.to_toml(wished)
    assert json.loads(declared.to_json(wished)) == tomllib.loads(text)["certificate"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1", "expected only [[certificate]]"),
        ("[certificate]\nname='a'", "two brackets"),
        ("[[certificate]]\nhosts=['a.test']", "expected a name"),
        ("[[certificate]]\nname='a'\nhost='a.test'", "'host' is no field"),
        ("[[certificate]]\nname='a'", "expected hosts"),
        ("[[certificate]]\nname='a'\nhosts=['a b']", "no host name"),
        ("[[certificate]]\nname='a'\nhosts='a.test'", "hosts: expected a list"),
        ("[[certificate]]\nname='a'\nhosts=['a.test']\nmode='now'", "mode: expected one of"),
        ("[[certificate]]\nname='a'\nhosts=['a.test']\nauto_renew='no'", "true or false"),
        ("[[certificate]]\nname='a'\nhosts=['a.test']\nchallenges=['x']", "challenges"),
        ("[[certificate]]\nname='A B'\nhosts=['a.test']", "no name for a certificate"),
        ("[[certificate]]\nname='a'\nhosts=['a.test']\n" * 2, "two certificates"),
        ("[[", "no TOML"),
        (ONE + "tasks='x'", "expected [[certificate.tasks]]"),
        (ONE + "[[certificate.tasks]]\nname='t'", "there is no task type ''"),
        (ONE + "[[certificate.tasks]]\ntype='wait'", "wait needs seconds"),
        (ONE + TASK + "kind='x'", "'kind' is no field of a task"),
        (ONE + TASK + "on='never'", "task 'wait': 'never' is not a valid Trigger"),
        (ONE + TASK + "on='skipped'", "needs a reason"),
        (ONE + TASK + "order='1'", "order: expected a whole number"),
        (ONE + TASK + "timeout=0", "more than 0"),
        (ONE + TASK + "settings_json='{}'", "not both"),
        (ONE + TASK + TASK, "two tasks 'wait'"),
    ],
)
def test_a_wrong_file_says_where_and_what_was_expected(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(text)
    assert says in str(raised.value)
    assert "certs.toml" in str(raised.value)


def test_only_pruning_removes() -> None:
    there = [certificate("a"), certificate("b")]
    kept = plan_changes([certificate("a")], there, prune=False)
    pruned = plan_changes([certificate("a")], there, prune=True)
    assert [c.action for c in kept] == [Action.SAME]
    assert [(c.name, c.action) for c in pruned] == [("a", Action.SAME), ("b", Action.REMOVE)]


def test_a_change_names_field_was_and_shall_be() -> None:
    (change,) = plan_changes(
        [certificate("a", "x.test")], [certificate("a", "y.test")], prune=False
    )
    assert change.fields == (("hosts", "y.test", "x.test"),)


# --- the commands


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    def call(*args: str | Path) -> int:
        return run(["--home", str(tmp_path / "home"), *map(str, args)])

    assert call("init", "--store", tmp_path / "shelf") == 0
    return call


def listed(cli: Cli, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    capsys.readouterr()
    assert cli("cert", "ls", "--json") == 0
    return {one["name"]: one for one in json.loads(capsys.readouterr().out)}


TWO = """
[[certificate]]
name = "a"
hosts = ["a.test"]

[[certificate]]
name = "b"
hosts = ["b.test", "*.b.test"]
"""


def test_apply_makes_the_records_as_the_file_says(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "certs.toml"
    file.write_text(TWO)
    assert cli("apply", file, "--dry-run") == 0
    assert "nothing was changed" in capsys.readouterr().out
    assert listed(cli, capsys) == {}
    assert cli("apply", file) == 0
    assert listed(cli, capsys)["b"]["hosts"] == ["b.test", "*.b.test"]
    file.write_text(TWO.replace('"*.b.test"', '"c.test"').replace('name = "a"', 'name = "z"'))
    assert cli("apply", file) == 0
    out = capsys.readouterr()
    assert "hosts: b.test, *.b.test -> b.test, c.test" in out.out
    assert "--prune" in out.err
    assert set(listed(cli, capsys)) == {"a", "b", "z"}
    assert cli("apply", file, "--prune") == 0
    assert set(listed(cli, capsys)) == {"b", "z"}


def tasks_of(cli: Cli, capsys: pytest.CaptureFixture[str], name: str) -> list[dict[str, object]]:
    capsys.readouterr()
    assert cli("task", "ls", name, "--json") == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


WITH_TASKS = (
    TWO
    + """
[[certificate.tasks]]
name = "copy"
type = "deploy-to-shelf"
settings = { store = "/second" }

[[certificate.tasks]]
type = "wait"
settings = { seconds = 1 }
"""
)


def test_apply_makes_the_tasks_as_the_file_says(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "certs.toml"
    file.write_text(WITH_TASKS)
    assert cli("apply", file) == 0
    assert [(t["name"], t["order"]) for t in tasks_of(cli, capsys, "b")] == [
        ("copy", 10),
        ("wait", 20),
    ]
    assert cli("apply", file) == 0
    assert "2 same" in capsys.readouterr().out
    changed = WITH_TASKS.replace("/second", "/third").replace(
        'type = "wait"', 'type="wait"\nname="w"'
    )
    file.write_text(changed)
    assert cli("apply", file) == 0
    said = capsys.readouterr().out
    assert 'task copy: settings: {"store": "/second"} -> {"store": "/third"}' in said
    assert "task w: - -> type=wait order=20" in said
    assert "task wait: type=wait order=20" in said
    assert [t["name"] for t in tasks_of(cli, capsys, "b")] == ["copy", "w"]


def test_a_file_that_does_not_speak_of_tasks_leaves_them(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "certs.toml"
    for text, left in ((WITH_TASKS, 2), (TWO, 2), (TWO + "tasks = []\n", 0)):
        file.write_text(text)
        assert cli("apply", file) == 0
        assert len(tasks_of(cli, capsys, "b")) == left


def test_a_dry_run_says_what_could_not_be_done(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "certs.toml"
    file.write_text(WITH_TASKS + 'credential = "nobody"\n')
    assert cli("apply", file, "--dry-run") == 1
    assert "no credential 'nobody'" in capsys.readouterr().err
    assert cli("apply", file) == 1
    assert listed(cli, capsys) == {}


@pytest.mark.parametrize("port", ["65536", "-1", "0", "http", "\N{SUPERSCRIPT TWO}", "9" * 5000])
def test_a_challenge_on_no_port_is_refused(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str], port: str
) -> None:
    """One in the records would keep the service from listening on any port."""
    file = tmp_path / "certs.toml"
    choice = f'challenges = [{{ type = "http-01", settings = {{ port = "{port}" }} }}]\n'
    file.write_text('[[certificate]]\nname = "a"\nhosts = ["a.test"]\n' + choice, "utf-8")
    assert cli("apply", file) == 1
    assert "is no port" in capsys.readouterr().err
    assert listed(cli, capsys) == {}


def test_apply_makes_all_changes_or_none(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "certs.toml"
    file.write_text(TWO + 'issuer = "nobody"\n')
    assert cli("apply", file) == 1
    assert "no issuer 'nobody'" in capsys.readouterr().err
    assert listed(cli, capsys) == {}


def test_a_changed_host_makes_the_next_request_issue(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "certs.toml"
    file.write_text(TWO)
    assert cli("apply", file) == 0
    assert cli("cert", "request", "a") == 0
    first = listed(cli, capsys)["a"]["serial"]
    file.write_text(TWO.replace('"a.test"', '"a.test", "c.test"'))
    assert cli("apply", file) == 0
    assert cli("cert", "request", "a") == 0
    assert listed(cli, capsys)["a"]["serial"] != first
    assert (tmp_path / "shelf" / "c.test.pfx").exists()


def test_export_and_apply_give_the_same_records_in_another_home(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "certs.toml").write_text(WITH_TASKS)
    assert cli("apply", tmp_path / "certs.toml") == 0
    capsys.readouterr()
    assert cli("export") == 0
    (tmp_path / "out.toml").write_text(capsys.readouterr().out)
    other = ["--home", str(tmp_path / "other")]
    assert run([*other, "init", "--store", str(tmp_path / "shelf2")]) == 0
    assert run([*other, "apply", str(tmp_path / "out.toml")]) == 0
    capsys.readouterr()
    assert run([*other, "export"]) == 0
    assert capsys.readouterr().out == (tmp_path / "out.toml").read_text()


def test_an_imported_bundle_is_published_without_a_new_order(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, theirs = make_bundle("a.test", "b.test"), tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "a.test.pfx").write_bytes(bundle.to_pfx(Secret("old")))
    (tmp_path / "pw").write_text("old")
    options = ("ccs", theirs, "--password-file", tmp_path / "pw")
    assert cli("import", *options, "--dry-run") == 0
    assert listed(cli, capsys) == {}
    assert cli("import", *options) == 0
    assert cli("cert", "request", "a.test") == 0
    assert listed(cli, capsys)["a.test"]["serial"] == bundle.serial
    assert (tmp_path / "shelf" / "b.test.pfx").exists()
    assert cli("import", *options) == 0
    assert set(listed(cli, capsys)) == {"a.test"}


def test_importing_the_shelf_itself_takes_its_files_over_untouched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf, pfx = tmp_path / "shelf", make_bundle("a.test").to_pfx(Secret("old"))
    shelf.mkdir()
    (shelf / "a.test.pfx").write_bytes(pfx)
    (tmp_path / "pw").write_text("old")
    home = ["--home", str(tmp_path / "home")]
    init = ["init", "--store", str(shelf), "--password-file", str(tmp_path / "pw")]
    assert run([*home, *init]) == 0
    assert run([*home, "import", "ccs", str(shelf)]) == 0
    assert (shelf / "a.test.pfx").read_bytes() == pfx
    assert run([*home, "cert", "request", "a.test", "--force"]) == 0
    assert (shelf / "a.test.pfx").read_bytes() != pfx
    assert run([*home, "shelf", "adopt", "a.test", "--undo"]) == 0
    assert (shelf / "a.test.pfx").read_bytes() == pfx


def test_what_had_to_be_left_is_exit_status_one(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("0,a,not a name\n0,b,b.test\n")
    assert cli("import", "csv", tmp_path / "s.csv") == 1


def test_a_hostile_name_reaches_no_terminal(
    cli: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.csv").write_text("0,\x1b[2Jx,\x1b]0;t\x07\n")
    cli("import", "csv", tmp_path / "s.csv")
    assert "\x1b" not in capsys.readouterr().out

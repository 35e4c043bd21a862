"""`certshelf cert` and `task` as people use them: edit, ls, preview, rebuild, import, tasks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.bundles import make_bundle
from tests.support.homes import make_home

from certshelf.bundle.model import Bundle
from certshelf.cli.main import run
from certshelf.manage.manager import open_manager
from certshelf.manage.settings import update_settings
from certshelf.secret import Secret

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def certshelf(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    home = make_home(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        status = run(["--home", str(home.path), *map(str, arguments)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def shown(certshelf: Command, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(certshelf("cert", "show", name, "--json")[1])
    return found


def listed(certshelf: Command, *options: str) -> list[str]:
    rows = json.loads(certshelf("cert", "ls", "--json", *options)[1])
    return [row["name"] for row in rows]


def set_password(certshelf: Command, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "secret").write_text(text)
    status, _, said = certshelf("credential", "set", name, "--password-file", tmp_path / "secret")
    assert status == 0, said


def test_edit_changes_what_is_given_and_nothing_else(certshelf: Command) -> None:
    certshelf("cert", "add", "a.test", "b.test", "--name", "web", "--tag", "old", "--tag", "eu")
    status, said, _ = certshelf(
        "cert", "edit", "web", "--remove-host", "b.test", "--add-host", "c.test",
        "--no-auto-renew", "--comment", "by hand", "--mode", "shelf-only",
    )  # fmt: skip
    assert status == 0
    assert "hosts: a.test, b.test -> a.test, c.test" in said
    web = shown(certshelf, "web")
    assert (web["hosts"], web["tags"]) == (["a.test", "c.test"], ["old", "eu"])
    assert (web["auto_renew"], web["comment"], web["mode"]) == (False, "by hand", "shelf-only")
    assert certshelf("cert", "edit", "web", "--tag", "")[0] == 0
    assert shown(certshelf, "web")["tags"] == []
    assert "is like that already" in certshelf("cert", "edit", "web")[1]


def test_other_names_need_a_new_certificate(certshelf: Command) -> None:
    certshelf("cert", "add", "a.test", "--name", "web")
    assert certshelf("cert", "request", "web")[0] == 0
    before = shown(certshelf, "web")["serial"]
    certshelf("cert", "edit", "web", "--add-host", "b.test")
    assert certshelf("cert", "request", "web")[0] == 0
    assert shown(certshelf, "web")["serial"] != before


def test_each_zone_has_its_own_challenge_and_credential(certshelf: Command, tmp_path: Path) -> None:
    set_password(certshelf, tmp_path, "tsig-b", "eA==")
    certshelf("cert", "add", "a.test", "x.b.test", "--name", "web", "--challenge", "http-01")
    status, _, said = certshelf(
        "cert", "edit", "web", "--challenge", "dns-01", "--for", "*.b.test", "--dns", "rfc2136",
        "--dns-server", "127.0.0.1:53", "--dns-zone", "b.test", "--dns-credential", "tsig-b",
    )  # fmt: skip
    assert status == 0, said
    with open_manager(tmp_path / "home") as manager, manager.database.read() as records:
        choices = records.certificates.get("web").challenges
    assert [(c.pattern, c.type, c.credential) for c in choices] == [
        ("*.b.test", "dns-01", "tsig-b"),
        ("*", "http-01", ""),
    ]


def test_ls_by_tag_state_and_end(certshelf: Command) -> None:
    for name, tag in (("a", "eu"), ("b", "eu"), ("c", "us")):
        certshelf("cert", "add", f"{name}.test", "--name", name, "--tag", tag)
    certshelf("cert", "request", "b")
    assert listed(certshelf) == ["a", "b", "c"]
    assert listed(certshelf, "--tag", "eu") == ["a", "b"]
    assert listed(certshelf, "--state", "valid") == ["b"]
    assert listed(certshelf, "--state", "new", "--tag", "eu") == ["a"]
    assert listed(certshelf, "--expires-within", "10000") == ["b"]
    assert listed(certshelf, "--expires-within", "1") == []


def test_preview_says_new_then_unchanged_and_changes_nothing(
    certshelf: Command, tmp_path: Path
) -> None:
    certshelf("cert", "add", "a.test", "*.b.test", "--name", "web")
    (tmp_path / "copy").mkdir()
    certshelf("task", "add", "web", "export", "--set", f"to={tmp_path / 'copy'}")
    status, said, _ = certshelf("cert", "preview", "web", "--json")
    found = json.loads(said)
    assert status == 0, found
    assert found["requests"] is True
    assert found["shelves"][0]["files"] == [
        {"file": "a.test.pfx", "outcome": "new"},
        {"file": "_.b.test.pfx", "outcome": "new"},
    ]
    assert found["tasks"][0]["files"] == [{"file": "a.test.pem", "outcome": "new"}]
    assert not list((tmp_path / "shelf").glob("*.p*"))
    assert not list((tmp_path / "copy").glob("*.p*"))
    assert certshelf("cert", "request", "web")[0] == 0
    found = json.loads(certshelf("cert", "preview", "web", "--json")[1])
    assert {file["outcome"] for file in found["shelves"][0]["files"]} == {"unchanged"}
    assert {file["outcome"] for file in found["tasks"][0]["files"]} == {"unchanged"}
    assert "nothing is in the way" in certshelf("cert", "preview", "web")[1]


def test_preview_finds_what_is_in_the_way(certshelf: Command, tmp_path: Path) -> None:
    certshelf("cert", "add", "a.test", "b.test", "--name", "web")
    certshelf("task", "add", "web", "export", "--set", f"to={tmp_path / 'missing'}")
    foreign = make_bundle("b.test").to_pfx(Secret("another password"))
    (tmp_path / "shelf" / "b.test.pfx").write_bytes(foreign)
    status, said, _ = certshelf("cert", "preview", "web", "--json")
    found = json.loads(said)
    assert status == 1
    ids = {finding["id"] for finding in found["shelves"][0]["findings"]}
    assert ids == {"pfx-password", "file-foreign"}
    assert "not there" in found["tasks"][0]["problem"]


def test_a_changed_password_holds_at_once_after_rebuild_without_an_order(
    certshelf: Command, tmp_path: Path
) -> None:
    set_password(certshelf, tmp_path, "own", "first password")
    certshelf("cert", "add", "a.test", "--name", "web", "--password-credential", "own")
    assert certshelf("cert", "request", "web")[0] == 0
    serial = shown(certshelf, "web")["serial"]
    file = tmp_path / "shelf" / "a.test.pfx"
    assert Bundle.from_pfx(file.read_bytes(), Secret("first password")).serial == serial
    set_password(certshelf, tmp_path, "own", "second password")
    assert Bundle.from_pfx(file.read_bytes(), Secret("first password")).serial == serial
    status, said, _ = certshelf("cert", "preview", "web")
    assert (status, "as it was written, under another password" in said) == (1, True), said
    certshelf("task", "add", "web", "export", "--set", f"to={tmp_path}", "--set", "format=pfx")
    status, said, noted = certshelf("cert", "rebuild", "web")
    assert status == 0, said
    assert "certshelf task run web export" in noted
    assert Bundle.from_pfx(file.read_bytes(), Secret("second password")).serial == serial
    assert shown(certshelf, "web")["serial"] == serial


def test_a_mix_of_passwords_on_one_shelf_is_a_fault(certshelf: Command, tmp_path: Path) -> None:
    set_password(certshelf, tmp_path, "own", "a password of its own")
    certshelf("cert", "add", "a.test", "--name", "one")
    certshelf("cert", "add", "b.test", "--name", "two", "--password-credential", "own")
    for name in ("one", "two"):
        assert certshelf("cert", "request", name)[0] == 0
    status, said, _ = certshelf("shelf", "verify")
    assert status == 1
    assert "pfx-password" in said and "b.test.pfx" in said
    _, said, _ = certshelf("doctor")
    assert "pfx-password-mixed" in said
    status, _, said = certshelf("credential", "rm", "own")
    assert (status, "certificate two" in said) == (1, True)


def test_a_credential_that_anything_names_is_not_removed(
    certshelf: Command, tmp_path: Path
) -> None:
    for name in ("mail", "reader", "dns", "hook"):
        set_password(certshelf, tmp_path, name, "a secret")
    update_settings(tmp_path / "home" / "certshelf.toml", {"notify.smtp_credential": "mail"})
    (tmp_path / "group").mkdir()
    certshelf(
        "group", "add", "web", "--store", tmp_path / "group", "--reader-credential", "reader"
    )  # fmt: skip
    certshelf(
        "cert", "add", "a.test", "--name", "a", "--challenge", "dns-01", "--dns", "lexicon",
        "--dns-provider", "x", "--dns-zone", "a.test", "--dns-credential", "dns",
    )  # fmt: skip
    url = "url=https://hooks.example.com/"
    certshelf("task", "add", "a", "webhook", "--set", url, "--credential", "hook")
    for name, user in (
        ("mail", "notify.smtp_credential of the settings"),
        ("reader", "group web"),
        ("dns", "certificate a"),
        ("hook", "task webhook of a"),
    ):
        status, _, said = certshelf("credential", "rm", name)
        assert (status, f"{user} needs it" in said) == (1, True), said


@pytest.mark.parametrize("form", ["pfx", "pem"])
def test_import_takes_a_file_over_and_the_next_one_too(
    certshelf: Command, tmp_path: Path, form: str
) -> None:
    def write(bundle: Bundle) -> Path:
        data = bundle.to_pem() if form == "pem" else bundle.to_pfx(Secret("in the file"))
        (tmp_path / "in").write_bytes(data)
        return tmp_path / "in"

    (tmp_path / "password").write_text("in the file")
    options = ["--password-file", tmp_path / "password", "--name", "bought"]
    first, second = make_bundle("a.test", "*.a.test"), make_bundle("a.test", "*.a.test", days=90)
    for bundle in (first, first, second):
        status, _, said = certshelf("cert", "import", write(bundle), *options)
        assert status == 0, said
        assert certshelf("cert", "rebuild", "bought")[0] == 0
        assert shown(certshelf, "bought")["serial"] == bundle.serial
    assert shown(certshelf, "bought")["auto_renew"] is False
    assert len(list((tmp_path / "shelf").glob("*.pfx"))) == 2
    status, _, said = certshelf("cert", "import", write(make_bundle("other.test")), *options)
    assert (status, "does not cover a.test" in said) == (1, True)
    (tmp_path / "in").write_bytes(b"no certificate")
    assert certshelf("cert", "import", tmp_path / "in", *options)[0] == 1


def test_a_task_from_adding_to_its_end(certshelf: Command, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    status, _, said = certshelf("cert", "add", "a.test", "--name", "web")
    assert status == 0, said
    status, said, _ = certshelf(
        "task", "add", "web", "export", "--name", "pem", "--set", f"to={tmp_path / 'copy'}",
        "--set", "format=fullchain", "--timeout", "5",
    )  # fmt: skip
    assert (status, "task run web pem" in said) == (0, True)
    assert certshelf("cert", "request", "web")[0] == 0
    row = json.loads(certshelf("task", "ls", "web", "--json")[1])[0]
    assert (row["name"], row["runs"][0]["outcome"]) == ("pem", "ok")
    for file in (tmp_path / "copy").glob("*.pem"):
        file.unlink()
    assert "a.test.key.pem: new" in certshelf("task", "run", "web", "pem")[1]
    (tmp_path / "copy").rename(tmp_path / "gone")
    status, said, _ = certshelf("task", "run", "web", "pem")
    assert (status, "still old: a.test.key.pem on" in said) == (1, True)
    assert "STILL OLD" in certshelf("task", "ls", "web")[1]
    assert "a.test.key.pem on" in certshelf("task", "show", "web", "pem")[1]
    assert any("a.test.key.pem" in text for text in shown(certshelf, "web")["still_old"])
    assert certshelf("task", "rm", "web", "pem")[0] == 0
    assert json.loads(certshelf("task", "ls", "web", "--json")[1]) == []


def test_settings_of_a_task_are_lists_tables_and_typed(certshelf: Command) -> None:
    certshelf("cert", "add", "a.test", "--name", "web")
    status, _, said = certshelf(
        "task", "add", "web", "powershell", "--set", "script=/x.ps1", "--set", "parameters.Site=A",
        "--set-json", "parameters.Count=3", "--on", "manual",
    )  # fmt: skip
    assert status == 0, said
    certshelf("task", "add", "web", "script", "--set", "command=/bin/x", "--set", "command=-v")
    tasks = json.loads(certshelf("task", "ls", "web", "--json")[1])
    assert tasks[0]["settings"]["parameters"] == {"Site": "A", "Count": 3}
    assert tasks[1]["settings"]["command"] == ["/bin/x", "-v"]
    assert certshelf("task", "add", "web", "wait", "--set", "seconds")[0] == 2
    assert certshelf("task", "add", "web", "wait", "--set-json", "seconds={")[0] == 2
    assert "webhook" in certshelf("task", "types")[1]


def test_a_list_says_of_each_what_show_says_of_it(certshelf: Command, tmp_path: Path) -> None:
    set_password(certshelf, tmp_path, "own", "a password of its own")
    certshelf("cert", "add", "a.test", "*.a.test", "--name", "new", "--tag", "x", "--tag", "y z")
    certshelf("cert", "add", "b.test", "--name", "issued", "--password-credential", "own")
    assert certshelf("cert", "request", "issued")[0] == 0
    rows = json.loads(certshelf("cert", "ls", "--json")[1])
    assert [row["name"] for row in rows] == ["issued", "new"]
    for row in rows:
        one = shown(certshelf, row["name"])
        assert row == {key: one[key] for key in row}


def test_a_list_is_filtered_by_what_it_shows(certshelf: Command) -> None:
    certshelf("cert", "add", "a.test", "--name", "a", "--tag", "x")
    certshelf("cert", "add", "b.test", "--name", "b", "--tag", "ax", "--tag", 'say "x"')
    certshelf("cert", "add", "c.test", "--name", "c")
    certshelf("cert", "request", "c")
    assert listed(certshelf, "--tag", "x") == ["a"]
    assert listed(certshelf, "--tag", 'say "x"') == ["b"]
    assert listed(certshelf, "--tag", "X") == []
    assert listed(certshelf, "--state", "valid") == ["c"]
    assert listed(certshelf, "--state", "new") == ["a", "b"]
    assert listed(certshelf, "--state", "expired") == []
    assert listed(certshelf, "--expires-within", "0") == []
    assert listed(certshelf, "--expires-within", "900") == ["c"]


def test_show_says_how_names_are_proved_and_which_tasks_there_are(certshelf: Command) -> None:
    certshelf(
        "cert", "add", "a.test", "--name", "web", "--challenge", "http-01", "--http-port", "8080",
    )  # fmt: skip
    certshelf("task", "add", "web", "wait", "--set-json", "seconds=1")
    assert shown(certshelf, "web")["tasks"] == ["wait"]
    assert shown(certshelf, "web")["challenges"] == [
        {"type": "http-01", "pattern": "*", "settings": {"port": "8080"}}
    ]
    said = certshelf("cert", "show", "web")[1]
    assert "http-01 for * port=8080" in said


def task(certshelf: Command, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(certshelf("task", "show", "web", name, "--json")[1])
    return found


def test_a_task_is_edited_and_keeps_its_runs(certshelf: Command, tmp_path: Path) -> None:
    certshelf("cert", "add", "a.test", "--name", "web")
    store = tmp_path / "second"
    store.mkdir()
    certshelf("task", "add", "web", "deploy-to-shelf", "--name", "copy", "--set", f"store={store}")
    assert certshelf("cert", "request", "web")[0] == 0
    edit = ("task", "edit", "web", "copy", "--set", "profile=windows-2016", "--on", "manual")
    status, said, _ = certshelf(*edit, "--order", 5, "--rename", "second", "--dry-run")
    assert (status, "task copy: name: copy -> second" in said) == (0, True)
    assert "nothing was changed" in said
    assert task(certshelf, "copy")["on"] == "success"
    assert certshelf(*edit, "--order", 5, "--rename", "second")[0] == 0
    second = task(certshelf, "second")
    assert second["settings"] == {"store": str(store), "profile": "windows-2016"}
    assert (second["on"], second["order"], len(second["runs"])) == ("manual", 5, 1)
    assert certshelf("task", "edit", "web", "second", "--unset", "profile")[0] == 0
    assert task(certshelf, "second")["settings"] == {"store": str(store)}
    assert "is like that already" in certshelf("task", "edit", "web", "second", "--order", 5)[1]


def test_a_task_cannot_be_edited_into_what_cannot_be(certshelf: Command) -> None:
    certshelf("cert", "add", "a.test", "--name", "web")
    certshelf("task", "add", "web", "wait", "--set", "seconds=1")
    certshelf("task", "add", "web", "wait", "--name", "other", "--set", "seconds=1")
    for options, says in (
        (["--set", "minutes=1"], "no setting 'minutes'"),
        (["--unset", "seconds"], "wait needs seconds"),
        (["--on", "skipped"], "needs a reason"),
        (["--timeout", "0"], "more than 0"),
        (["--credential", "nobody"], "no credential 'nobody'"),
        (["--rename", "other"], "one with that name already"),
        (["--rename", "A B"], "no name for a task"),
    ):
        status, _, said = certshelf("task", "edit", "web", "wait", *options)
        assert (status, says in said) == (1, True), said
    assert certshelf("task", "edit", "web", "gone", "--order", 1)[0] == 1
    assert task(certshelf, "wait")["settings"] == {"seconds": "1"}


def test_a_certificates_edit_can_be_tried_first(certshelf: Command) -> None:
    certshelf("cert", "add", "a.test", "--name", "web")
    status, said, _ = certshelf("cert", "edit", "web", "--add-host", "b.test", "--dry-run")
    assert (status, "hosts: a.test -> a.test, b.test" in said) == (0, True)
    assert shown(certshelf, "web")["hosts"] == ["a.test"]
    assert certshelf("cert", "edit", "web", "--issuer", "nobody", "--dry-run")[0] == 1

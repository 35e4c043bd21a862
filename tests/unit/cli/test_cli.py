"""The command line as such: help, statuses, completion, and what it does not import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from tests.support.bundles import make_bundle

from certshelf import open_shelf
from certshelf.bundle.model import PfxProfile
from certshelf.cli.main import run
from certshelf.resolve.resolver import Resolver
from certshelf.secret import Secret, generate_password
from certshelf.shelf.shelf import Shelf

PASSWORD = generate_password()
HEAVY = ("sqlalchemy", "alembic", "aiohttp", "rich", "dns", "uvicorn", "pydantic", "asyncio")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cli")
    path = root / "home"
    for args in (
        ["init", "--store", str(root / "shelf")],
        ["cert", "add", "www.example.test", "--name", "web"],
        ["cert", "request", "web"],
    ):
        assert run(["--home", str(path), *args]) == 0
    return path


def in_a_process(*args: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **more}
    command = [sys.executable, "-m", "certshelf", *args]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def imported(*args: str) -> set[str]:
    """The heavy modules that a command loads."""
    code = (
        "import sys; from certshelf.cli.main import run; status = run(sys.argv[1:]);"
        f"print(sorted(m for m in {HEAVY!r} if m in sys.modules), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *args]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1].replace("'", '"')))


@pytest.mark.parametrize(
    "args", [["--help"], ["shelf", "--help"], ["cert", "add", "--help"], ["completion", "bash"]]
)
def test_help_loads_nothing_heavy(args: list[str]) -> None:
    assert imported(*args) == set()


def test_resolve_answers_without_the_database_library(home: Path) -> None:
    assert imported("--home", str(home), "shelf", "resolve", "www.example.test") == set()


def test_a_missing_command_is_a_usage_error_of_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["nonsense"]) == 2
    assert capsys.readouterr().err == (
        "error: No such command 'nonsense'.\nhint: certshelf --help\n"
    )


def test_completion_knows_the_commands() -> None:
    done = in_a_process(
        _CERTSHELF_COMPLETE="bash_complete", COMP_WORDS="certshelf she", COMP_CWORD="1"
    )
    assert "shelf" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    assert "_CERTSHELF_COMPLETE" in capsys.readouterr().out


def test_every_listing_has_json(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for listing in (
        ["shelf", "ls"],
        ["shelf", "verify"],
        ["shelf", "history", "www.example.test"],
        ["cert", "ls"],
        ["issuer", "ls"],
        ["credential", "ls"],
        ["member", "ls"],
        ["group", "ls"],
    ):
        assert run(["--home", str(home), *listing, "--json"]) == 0
        assert isinstance(json.loads(capsys.readouterr().out), list), listing


def test_shelf_ls_json_has_what_scripts_read(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["--home", str(home), "shelf", "ls", "--json"])
    (file,) = json.loads(capsys.readouterr().out)
    assert list(file) == [
        "file",
        "host",
        "names",
        "thumbprint",
        "thumbprint_sha256",
        "serial",
        "not_before",
        "not_after",
        "key",
        "profile",
        "windows_2016",
        "owner",
        "problems",
    ]
    assert file["thumbprint"] == file["thumbprint"].upper() and len(file["thumbprint"]) == 40
    assert file["thumbprint_sha256"] == file["thumbprint_sha256"].lower()
    assert file["not_after"].endswith("Z")


def test_events_are_one_json_object_a_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--home", str(home), "events", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"certificate.added", "certificate.issued"} <= {event["kind"] for event in events}


def test_reveal_prints_the_secret_and_nothing_else_and_is_logged(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--home", str(home), "credential", "show", "shelf-password", "--reveal"]) == 0
    secret = capsys.readouterr().out
    assert len(secret.strip()) == 43 and secret.count("\n") == 1
    run(["--home", str(home), "credential", "show", "shelf-password"])
    assert "***" in capsys.readouterr().out
    run(["--home", str(home), "events", "--subject", "shelf-password"])
    log = capsys.readouterr().out
    assert "credential.revealed" in log and secret.strip() not in log


def test_get_writes_a_new_file_of_0600_and_never_over_one(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "www.pem"
    args = ["--home", str(home), "shelf", "get", "www.example.test", str(out)]
    assert run(args) == 0
    assert b"PRIVATE KEY" in out.read_bytes()
    if os.name == "posix":
        assert out.stat().st_mode & 0o777 == 0o600
    assert run(args) == 1
    assert "File exists" in capsys.readouterr().err


def test_a_closed_pipe_is_no_traceback(home: Path) -> None:
    command = f"'{sys.executable}' -m certshelf --home '{home}' cert show web --json | head -c 1"
    done = subprocess.run(
        ["sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr


def test_a_file_that_cannot_be_written_is_one_line(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "nowhere" / "root.pem"
    assert run(["--home", str(home), "issuer", "root", "--out", str(out)]) == 1
    assert capsys.readouterr().err == f"error: cannot use {out}: No such file or directory\n"


def test_a_second_init_says_that_it_keeps_the_first_shelf(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--home", str(home), "init", "--store", str(tmp_path / "other")]) == 0
    said = capsys.readouterr().out
    assert f"of the settings, not {tmp_path / 'other'}" in said
    assert not (tmp_path / "other").exists()


def test_retire_tried_dry_says_what_retire_would(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf = home.parent / "shelf"
    assert run(["--home", str(home), "shelf", "retire", "www.example.test", "--dry-run"]) == 0
    assert capsys.readouterr().out == "would remove www.example.test.pfx\n"
    assert (shelf / "www.example.test.pfx").exists()
    (shelf / "theirs.test.pfx").write_bytes((shelf / "www.example.test.pfx").read_bytes())
    assert run(["--home", str(home), "shelf", "retire", "theirs.test", "--dry-run"]) == 1
    assert "certshelf did not write it" in capsys.readouterr().err
    (shelf / "theirs.test.pfx").unlink()
    assert run(["--home", str(home), "shelf", "retire", "none.test", "--dry-run"]) == 0
    assert capsys.readouterr().out == "nothing to remove for none.test\n"


def test_a_password_that_files_need_is_neither_changed_nor_removed(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new"
    new.write_text("another password")
    change = ["credential", "set", "shelf-password", "--password-file", str(new)]
    assert run(["--home", str(home), *change]) == 1
    assert "files on the shelf are encrypted under it" in capsys.readouterr().err
    assert run(["--home", str(home), "credential", "rm", "shelf-password"]) == 1
    assert "shelf.password_credential of the settings needs it" in capsys.readouterr().err
    assert run(["--home", str(home), "shelf", "verify"]) == 0


def test_a_credential_tells_when_it_expires_until_its_secret_is_another(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text("a-token")

    def said(*words: str) -> str:
        capsys.readouterr()
        assert run(["--home", str(home), "credential", *words]) == 0
        return capsys.readouterr().out

    def end() -> str | None:
        found = {one["name"]: one["expires_at"] for one in json.loads(said("ls", "--json"))}
        return found["dns"]

    put = ["set", "dns", "--kind", "token", "--password-file", str(tmp_path / "token")]
    said(*put, "--expires", "2031-02-03")
    assert end() == "2031-02-03T00:00:00Z"
    said("expires", "dns", "2032-01-01")
    assert end() == "2032-01-01T00:00:00Z"
    said("expires", "dns", "never")
    assert end() is None
    said("expires", "dns", "2000-01-01")
    assert run(["--home", str(home), "doctor", "--only", "credential-expiring"]) == 1
    assert "the credential dns expired 2000-01-01" in capsys.readouterr().out
    said(*put)
    assert end() is None
    assert run(["--home", str(home), "credential", "expires", "dns", "tomorrow"]) == 2
    assert run(["--home", str(home), "credential", "expires", "none", "never"]) == 1


def test_an_error_of_others_does_not_steer_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["shelf", "\x1b]0;owned\x07"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_a_wildcard_without_a_name_gets_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--home", str(home), "cert", "add", "*.shop.example.test"]) == 0
    assert "wildcard.shop.example.test added" in capsys.readouterr().out
    assert run(["--home", str(home), "cert", "rm", "wildcard.shop.example.test"]) == 0


def test_the_manifest_key_is_printed_as_a_reader_takes_it(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--home", str(home), "shelf", "manifest-key"]) == 0
    pem = capsys.readouterr().out
    assert pem.startswith("-----BEGIN PUBLIC KEY-----\n")
    key = load_pem_public_key(pem.encode())
    assert isinstance(key, Ed25519PublicKey)
    mine = open_shelf(home=home)
    strict = Shelf(mine.store, mine.passwords[0], public_key=key)
    assert Resolver(strict).resolve("www.example.test") is not None


def test_adopt_lists_what_is_wrong_among_files_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, shelf, password = tmp_path / "home", tmp_path / "ccs", tmp_path / "password"
    password.write_text(PASSWORD.reveal())
    shelf.mkdir()
    old = make_bundle("old.test", days=1, start=datetime(2020, 1, 1, tzinfo=UTC))
    for name, data in {
        "a.test.pfx": make_bundle("a.test").to_pfx(PASSWORD),
        "B.test.PFX": make_bundle("b.test").to_pfx(PASSWORD, PfxProfile.WINDOWS_2016),
        "b.test.pfx": make_bundle("b.test").to_pfx(PASSWORD, PfxProfile.WINDOWS_2016),
        "xn--bcher-kva.test.pfx": make_bundle("bücher.test").to_pfx(PASSWORD),
        "B\u00dcCHER.test.pfx": make_bundle("bücher.test").to_pfx(PASSWORD),
        "old.test.pfx": old.to_pfx(PASSWORD),
        "other.test.pfx": make_bundle("else.test").to_pfx(PASSWORD),
        "secret.test.pfx": make_bundle("secret.test").to_pfx(Secret("another")),
        "weak.test.pfx": make_bundle("weak.test", key=rsa.generate_private_key(65537, 1024)).to_pfx(
            PASSWORD
        ),
        "junk.test.pfx": b"junk",
    }.items():
        (shelf / name).write_bytes(data)
    before = sorted(path.name for path in shelf.iterdir())
    arguments = ["--store", str(shelf), "--password-file", str(password)]
    assert run(["--home", str(home), "init", *arguments]) == 0
    capsys.readouterr()
    assert run(["--home", str(home), "shelf", "adopt"]) == 0
    said = capsys.readouterr().out
    for line in (
        "B.test.PFX: file-twins: ",
        "B\u00dcCHER.test.pfx: file-twins: ",
        "old.test.pfx: expired: ",
        "other.test.pfx: name-not-covered: ",
        "secret.test.pfx: pfx-password: ",
        "weak.test.pfx: certificate-unsound: ",
        "junk.test.pfx: pfx-unreadable: ",
    ):
        assert line in said, said
    too_new = next(line for line in said.splitlines() if line.startswith("too new for Windows"))
    assert "a.test.pfx" in too_new and "b.test.pfx" not in too_new.lower().replace("b\u00fc", "")
    assert sorted(path.name for path in shelf.iterdir() if path.name != ".certshelf") == before


def test_dry_runs_of_the_command_line_write_nothing(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pem = tmp_path / "new.pem"
    pem.write_bytes(make_bundle("www.example.test", "new.test").to_pem())
    shelf = home.parent / "shelf"
    before = {path: path.read_bytes() for path in shelf.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert run(["--home", str(home), "shelf", "put", "--dry-run", str(pem)]) == 0
    said = capsys.readouterr().out
    assert "would be new: new.test.pfx" in said
    assert "would be replaced: www.example.test.pfx" in said
    assert run(["--home", str(home), "shelf", "rewrite", "--dry-run"]) == 0
    assert "would be unchanged: www.example.test.pfx" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in shelf.rglob("*") if path.is_file()} == before

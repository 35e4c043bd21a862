"""Bad input: each row asserts exit status, first line of the error, and that nothing moved."""

from __future__ import annotations

import hashlib
import io
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certshelf.bundle.model import Bundle
from certshelf.cli.main import run
from certshelf.manage.settings import ShelfSettings
from certshelf.secret import Secret
from tests.support.bundles import make_bundle

PASSWORD = Secret("of the file")


@dataclass
class Home:
    """A home with one certificate on its shelf, and a place for the input."""

    root: Path

    @property
    def path(self) -> Path:
        return self.root / "home"

    @property
    def shelf(self) -> Path:
        return self.root / "shelf"

    @property
    def settings(self) -> Path:
        return self.path / "certshelf.toml"

    def file(self, name: str, data: bytes) -> str:
        path = self.root / name
        path.write_bytes(data)
        return str(path)

    def state(self) -> dict[str, str]:
        """The bytes of everything that must not change."""
        folders = [self.shelf, self.path] if self.shelf.is_dir() else [self.path]
        paths = [p for folder in folders for p in folder.rglob("*") if p.is_file()]
        return {
            str(p.relative_to(self.root)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in paths
            if not p.name.endswith(("-wal", "-shm", "lock"))
        }


@dataclass(frozen=True)
class Row:
    """One bad input. do: prepares it; the texts it returns fill the {} of the arguments."""

    id: str
    args: str
    status: int
    line: str
    do: Callable[[Home], dict[str, str]] = field(default=lambda home: {})
    stdin: bytes = b""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template")
    home = str(root / "home")
    for args in (
        ["init", "--store", str(root / "shelf")],
        ["cert", "add", "www.example.test", "--name", "web"],
        ["cert", "request", "web"],
    ):
        assert run(["--home", home, *args]) == 0
    return root


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Iterator[Home]:
    root = tmp_path / "root"
    shutil.copytree(template, root)
    settings = root / "home" / "certshelf.toml"
    settings.write_text(settings.read_text().replace(str(template), str(root)))
    yield Home(root)


def put(data: bytes, password: str = "of the file") -> Callable[[Home], dict[str, str]]:
    return lambda home: {
        "file": home.file("input.bin", data),
        "pw": home.file("password", password.encode()),
    }


def pem(bundle: Bundle, key_of: Bundle) -> bytes:
    key = key_of.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key + bundle.leaf.public_bytes(Encoding.PEM)


def setting(text: str) -> Callable[[Home], dict[str, str]]:
    def change(home: Home) -> dict[str, str]:
        home.settings.write_text(text)
        return {"settings": str(home.settings)}

    return change


def sql(statement: str) -> Callable[[Home], dict[str, str]]:
    def change(home: Home) -> dict[str, str]:
        with sqlite3.connect(home.path / "certshelf.db") as connection:
            connection.execute(statement)
        connection.close()
        return {"home": str(home.path)}

    return change


def damage_database(home: Home) -> dict[str, str]:
    path = home.path / "certshelf.db"
    data = bytearray(path.read_bytes())
    data[4096:12288] = os.urandom(8192)
    path.write_bytes(data)
    return {"home": str(home.path)}


def remove(name: str) -> Callable[[Home], dict[str, str]]:
    def change(home: Home) -> dict[str, str]:
        path = home.root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        return {"root": str(home.root), "home": str(home.path)}

    return change


def open_key_file(home: Home) -> dict[str, str]:
    (home.path / "keys.json").chmod(0o644)
    return {"home": str(home.path)}


def foreign(home: Home) -> dict[str, str]:
    bundle = make_bundle("foreign.test")
    (home.shelf / "foreign.test.pfx").write_bytes(bundle.to_pfx(Secret("theirs")))
    return put(bundle.to_pfx(PASSWORD))(home)


NOW = datetime.now(UTC)
GOOD = make_bundle("good.test")
GOOD_PFX = GOOD.to_pfx(PASSWORD)
PUT = "shelf put {file} --password-file {pw}"
NAME = "error: no host name: "
READ = "error: cannot read the secret in "
USE = "error: cannot use {file}: "
KEYS = "'ecdsa-p256', 'ecdsa-p384', 'rsa-2048', 'rsa-3072', 'rsa-4096'"
SETTINGS = ", ".join(spec.name for spec in fields(ShelfSettings))
OLDER = make_bundle("www.example.test", start=NOW - timedelta(days=3), days=4)
EXPIRED = make_bundle("good.test", start=NOW - timedelta(days=90))
EARLY = make_bundle("good.test", start=NOW + timedelta(days=9))


def moment(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def root(home: Home) -> dict[str, str]:
    return {"root": str(home.root)}


def bad_name(id: str, text: str, shown: str, reason: str) -> Row:
    return Row(id, f"cert add {shlex.quote(text)}", 1, f"{NAME}{shown}: {reason}")


def bad_file(id: str, data: bytes, reason: str, password: str = "of the file") -> Row:
    return Row(id, PUT, 1, USE + reason, put(data, password))


def refused(id: str, bundle: Bundle, reason: str) -> Row:
    file = bundle.names[0].file_name()
    return Row(id, PUT, 1, f"error: {file} refused: {reason}", put(bundle.to_pfx(PASSWORD)))


def bad_settings(id: str, text: str, line: str) -> Row:
    return Row(id, "shelf ls", 1, line, setting(text))


SPACE = "it holds a space or a control character"
NAMES = [
    bad_name("empty name", "", "''", "it is empty"),
    bad_name("space", "a b.test", "'a b.test'", SPACE),
    bad_name("control", "a\x07.test", r"'a\x07.test'", SPACE),
    bad_name("nul", "a\0.test", r"'a\x00.test'", SPACE),
    Row(
        "IP address",
        "shelf history 192.0.2.1",
        1,
        f"{NAME}'192.0.2.1': it is an IP address, and a shelf holds host names only",
    ),
    Row("IPv6 address", "shelf history 2001:db8::1", 1, f"{NAME}'2001:db8::1': it holds ':'"),
    bad_name("address and port", "192.0.2.1:443", "'192.0.2.1:443'", "it holds ':'"),
    bad_name("empty label", "a..test", "'a..test'", "it has an empty label"),
    bad_name("parent folder", "../../etc", "'../../etc'", "it holds '/'"),
    bad_name("backslash", "..\\up", r"'..\\up'", r"it holds '\\'"),
    bad_name(
        "device",
        "con.example.test",
        "'con.example.test'",
        "Windows takes its file for the device 'CON'",
    ),
    bad_name(
        "inner wildcard",
        "a.*.test",
        "'a.*.test'",
        "a wildcard is one whole first label: *.example.com",
    ),
    bad_name(
        "long label",
        "a" * 64 + ".test",
        f"'{'a' * 64}.test'",
        "it has a label of more than 63 characters",
    ),
    bad_name(
        "long name",
        "a." * 130 + "test",
        f"'{('a.' * 40)[:77]}...'",
        "it is longer than 253 characters",
    ),
    bad_name("underscore", "a_b.test", "'a_b.test'", "it holds '_', which no host name has"),
    bad_name("URL", "https://a.test", "'https://a.test'", "it holds '/'"),
    Row("resolve a path", "shelf resolve ../web", 1, f"{NAME}'../web': it holds '/'"),
    Row(
        "resolve nothing there",
        "shelf resolve no.such.test",
        1,
        "error: no file answers for no.such.test: tried no.such.test.pfx, _.such.test.pfx",
    ),
]
CERTIFICATES = [
    Row("taken", "cert add a.test --name web", 1, "error: there is a certificate 'web' already"),
    Row(
        "bad record name",
        "cert add a.test --name 'We b'",
        1,
        "error: no name for a certificate: 'We b'",
    ),
    Row(
        "unknown issuer",
        "cert add a.test --issuer nobody",
        1,
        "error: there is no issuer 'nobody'",
    ),
    Row(
        "too many hosts",
        "cert add " + " ".join(f"h{n}.test" for n in range(101)),
        1,
        "error: cannot add h0.test: 101 hosts, a CA accepts 100",
    ),
    Row("request unknown", "cert request no", 1, "error: there is no certificate 'no'"),
    Row("remove unknown", "cert rm no", 1, "error: there is no certificate 'no'"),
    Row(
        "unknown key type",
        "cert add a.test --key dsa",
        2,
        f"error: Invalid value for '--key': 'dsa' is not one of {KEYS}.",
    ),
    Row(
        "no hosts",
        "cert add",
        2,
        "error: give HOSTS or --csr FILE, with a --name, or --from-bindings FILE",
    ),
    Row("unknown command", "cert destroy", 2, "error: No such command 'destroy'."),
]
FILES = [
    Row(
        "no such file",
        "shelf put {root}/none.pfx --password-file {root}/none",
        1,
        "error: cannot read {root}/none.pfx: No such file or directory",
        root,
    ),
    Row(
        "a folder",
        "shelf put {root} --password-file {root}",
        1,
        "error: cannot read {root}: Is a directory",
        root,
    ),
    bad_file("empty file", b"", "an empty file is no PFX"),
    bad_file("a web page", b"<html>", "not a PFX: it begins with b'<'"),
    bad_file(
        "half a file",
        GOOD_PFX[:700],
        f"truncated: {len(GOOD_PFX) - 700} bytes are missing",
    ),
    bad_file("no length", b"\x30\x80", "truncated: a value has no length"),
    bad_file(
        "wrong password",
        GOOD_PFX,
        "wrong password or damaged: PKCS#12 cannot tell the two apart",
        "another",
    ),
    bad_file("2 MiB", b"0" * 2**21, "a file of 1,048,577 bytes: no PFX has more than 1,048,576"),
    bad_file(
        "PEM of two",
        pem(GOOD, make_bundle("x.test")),
        "the private key has none of its 1 certificates that fits it",
    ),
    bad_file(
        "PEM without key",
        GOOD.leaf.public_bytes(Encoding.PEM),
        "no private key in the PEM text",
    ),
    bad_file("PEM of nothing", b"-----BEGIN NOTHING-----\n", "no private key in the PEM text"),
    refused("expired", EXPIRED, f"expired at {moment(EXPIRED.not_after)}"),
    refused("not yet valid", EARLY, f"not valid before {moment(EARLY.not_before)}"),
    Row(
        "somebody else's file",
        PUT,
        1,
        "error: foreign.test.pfx refused: cannot overwrite foreign.test.pfx: "
        "certshelf did not write it",
        foreign,
    ),
]
SECRETS = [
    Row(
        "password file missing",
        "shelf put {file} --password-file {file}.none",
        1,
        READ + "{file}.none: No such file or directory",
        put(GOOD_PFX),
    ),
    Row(
        "password empty",
        PUT,
        1,
        "error: cannot use the secret in {pw}: it is empty",
        put(GOOD_PFX, "\n"),
    ),
    Row(
        "password twice",
        PUT + " --password-stdin",
        2,
        "error: give --password-file or --password-stdin, not both",
        put(GOOD_PFX),
    ),
    Row(
        "stdin empty",
        "credential set x --password-stdin",
        1,
        "error: cannot use the secret in standard input: it is empty",
    ),
    Row(
        "stdin no text",
        "credential set x --password-stdin",
        1,
        "error: cannot use the secret in standard input: it is not UTF-8",
        stdin=b"\xff\xfe",
    ),
    Row(
        "nobody to ask",
        "credential set x",
        1,
        "error: no secret for x given, and no terminal to ask on",
    ),
    Row(
        "bad credential name",
        "credential set '../x' --password-stdin",
        1,
        "error: no name for a credential: '../x'",
        stdin=b"s",
    ),
    Row("unknown credential", "credential show no", 1, "error: there is no credential 'no'"),
    Row("remove no credential", "credential rm no", 1, "error: there is no credential 'no'"),
]
PLACES = [
    bad_settings(
        "broken settings",
        "[shelf\n",
        "error: {settings}: no TOML: Expected ']' at the end of a table declaration "
        "(at line 1, column 7)",
    ),
    bad_settings(
        "unknown setting",
        "[shelf]\ncolour = 'red'\n",
        "error: {settings}:2: shelf.colour: expected a setting of these: " + SETTINGS,
    ),
    bad_settings(
        "setting of a wrong type",
        "[shelf]\nhistory = 'many'\n",
        "error: {settings}:2: shelf.history: expected a whole number",
    ),
    bad_settings(
        "unknown store",
        "[shelf]\nstore = 'ftp://a/b'\nowner='x'\n",
        "error: no store has addresses of the form ftp:",
    ),
    bad_settings(
        "password in the address",
        "[shelf]\nstore = 'smb://u:p@a/b'\n",
        "error: {settings}:2: shelf.store: expected an address without a password",
    ),
    Row(
        "no home",
        "--home {root}/elsewhere cert ls",
        1,
        "error: there is no certshelf home in {root}/elsewhere",
        root,
    ),
    Row(
        "shelf folder gone",
        "shelf ls",
        1,
        "error: cannot list names in {root}/shelf: the folder is not there",
        remove("shelf"),
    ),
    Row(
        "key file gone",
        "shelf ls",
        1,
        "error: the key file {home}/keys.json is not there",
        remove("home/keys.json"),
    ),
    Row(
        "key file for all to read",
        "shelf ls",
        1,
        "error: the key file {home}/keys.json may be used by others (mode 0644)",
        open_key_file,
    ),
    Row(
        "database gone",
        "cert ls",
        1,
        "error: {home}/certshelf.db: the database is not there",
        remove("home/certshelf.db"),
    ),
    Row(
        "database of a newer version",
        "cert ls",
        1,
        "error: {home}/certshelf.db: the database is newer than this certshelf (schema 9999)",
        sql("UPDATE alembic_version SET version_num = '9999'"),
    ),
    Row(
        "database damaged",
        "cert ls",
        1,
        "error: {home}/certshelf.db: the database is damaged",
        damage_database,
    ),
    Row("empty store", "init --store ''", 1, "error: cannot make a shelf: --store is empty"),
]
ROWS = [*NAMES, *CERTIFICATES, *FILES, *SECRETS, *PLACES]


@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_bad_input_changes_nothing(
    home: Home, row: Row, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    filled = row.do(home)
    before = home.state()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(row.stdin)))
    arguments = [text.format(**filled) for text in shlex.split(row.args)]
    status = run(["--home", str(home.path), *arguments])
    first_line = capsys.readouterr().err.partition("\n")[0]
    assert (status, first_line) == (row.status, row.line.format(**filled))
    assert home.state() == before


def test_the_table_is_long_enough() -> None:
    assert len(ROWS) >= 40


@pytest.mark.root
@pytest.mark.skipif(
    not sys.platform.startswith("linux") or getattr(os, "geteuid", lambda: 1)() != 0,
    reason="mounting needs root on Linux",
)
@pytest.mark.parametrize("options", ["ro", "size=4k"], ids=["read-only", "full"])
def test_a_shelf_that_cannot_be_written_fails_the_run_and_keeps_the_old_files(
    home: Home, options: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shelf's folder becomes a mount that refuses writes; after it is mended a run repairs."""
    old = {path.name: path.read_bytes() for path in home.shelf.glob("*.pfx")}
    kept = home.root / "kept"
    shutil.copytree(home.shelf, kept)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(home.shelf)], check=False
    )
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        shutil.copytree(kept, home.shelf, dirs_exist_ok=True)
        if options == "ro":
            remount(home.shelf, "ro")
        else:
            fill(home.shelf)
        assert run(["--home", str(home.path), "cert", "renew", "web", "--force"]) == 1
        reason = "the file system is read-only" if options == "ro" else "no space left"
        assert reason in capsys.readouterr().err.lower()
        assert {p.name: p.read_bytes() for p in home.shelf.glob("*.pfx")} == old
        if options == "ro":
            remount(home.shelf, "rw")
        else:
            (home.shelf / "filler").unlink()
        assert run(["--home", str(home.path), "cert", "renew", "web"]) == 0
        assert {p.name: p.read_bytes() for p in home.shelf.glob("*.pfx")} != old
        assert run(["--home", str(home.path), "shelf", "verify"]) == 0
    finally:
        subprocess.run(["umount", str(home.shelf)], check=True)


def remount(folder: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True)


def fill(folder: Path) -> None:
    with (folder / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(b"0" * 4096)

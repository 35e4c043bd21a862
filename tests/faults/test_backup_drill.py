"""The drill: a new machine from a backup, the same shelf, and the next renewal works."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from certshelf.cli.main import run
from certshelf.names import HostName
from certshelf.opening import open_shelf

pyrage = pytest.importorskip("pyrage")
HOST = HostName.parse("www.example.test")


def certshelf(home: Path, *args: str) -> int:
    return run(["--home", str(home), *args])


@pytest.fixture
def identity(tmp_path: Path) -> tuple[str, Path]:
    made = pyrage.x25519.Identity.generate()
    file = tmp_path / "identity"
    file.write_text(f"# created today\n# public key: {made.to_public()}\n{made}\n")
    return str(made.to_public()), file


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    for args in (
        ["init", "--store", str(tmp_path / "shelf")],
        ["cert", "add", "www.example.test", "--name", "web"],
        ["cert", "request", "web"],
        ["cert", "renew", "web", "--force"],
    ):
        assert certshelf(path, *args) == 0
    return path


def test_restored_on_a_new_machine_the_next_renewal_works(
    home: Path, tmp_path: Path, identity: tuple[str, Path]
) -> None:
    backup, new = tmp_path / "b.age", tmp_path / "new-home"
    assert certshelf(home, "backup", str(backup), "--recipient", identity[0]) == 0
    kept_elsewhere = tmp_path / "keys.json"
    shutil.copy2(home / "keys.json", kept_elsewhere)
    shutil.rmtree(home)
    assert certshelf(new, "restore", str(backup), "--identity-file", str(identity[1])) == 0
    shutil.copy2(kept_elsewhere, new / "keys.json")
    assert certshelf(new, "shelf", "verify") == 0
    before = open_shelf(home=new).find(HOST)
    assert certshelf(new, "cert", "renew", "web", "--force") == 0
    after = open_shelf(home=new).find(HOST)
    assert before and after and before.file.bundle != after.file.bundle
    assert after.file.generation == before.file.generation + 1
    assert certshelf(new, "events", "--verify") == 0
    assert certshelf(new, "shelf", "restore", "www.example.test") == 0


@pytest.mark.skipif(os.name == "nt", reason="a link needs a privilege on Windows")
def test_settings_that_are_a_link_are_backed_up_as_what_they_say(
    home: Path, tmp_path: Path, identity: tuple[str, Path]
) -> None:
    backup, new, there = tmp_path / "b.age", tmp_path / "new-home", tmp_path / "etc.toml"
    settings = (home / "certshelf.toml").rename(there).read_text()
    (home / "certshelf.toml").symlink_to(there)
    assert certshelf(home, "backup", str(backup), "--recipient", identity[0]) == 0
    assert certshelf(new, "restore", str(backup), "--identity-file", str(identity[1])) == 0
    assert (new / "certshelf.toml").read_text() == settings
    assert not (new / "certshelf.toml").is_symlink()


def test_without_the_key_file_it_starts_and_says_which_secrets_are_gone(
    home: Path, tmp_path: Path, identity: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    backup, new = tmp_path / "b.age", tmp_path / "new-home"
    certshelf(home, "backup", str(backup), "--recipient", identity[0])
    certshelf(new, "restore", str(backup), "--identity-file", str(identity[1]))
    assert certshelf(new, "init", "--store", str(tmp_path / "shelf")) == 1
    assert "is not there" in capsys.readouterr().err
    assert certshelf(new, "cert", "ls") == 0
    assert certshelf(new, "init", "--store", str(tmp_path / "shelf"), "--new-keys") == 0
    assert certshelf(new, "credential", "ls") == 0
    assert "key lost" in capsys.readouterr().out


def test_no_key_file_and_nothing_in_clear_is_inside(
    home: Path, tmp_path: Path, identity: tuple[str, Path]
) -> None:
    backup = tmp_path / "b.age"
    certshelf(home, "backup", str(backup), "--recipient", identity[0])
    sealed = backup.read_bytes()
    assert sealed.startswith(b"age-encryption.org/v1")
    assert b"example.test" not in sealed
    secret = identity[1].read_text().splitlines()[-1]
    plain = pyrage.decrypt(sealed, [pyrage.x25519.Identity.from_str(secret)])
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        names = archive.getnames()
        assert "keys.json" not in names
        assert "certshelf.toml" in names and "certshelf.db" in names
        assert any(name.startswith("history/") for name in names)
        inside = b"".join(f.read() for m in archive if (f := archive.extractfile(m)))
    assert b"PRIVATE KEY" not in inside


def test_a_backup_is_refused_where_it_would_overwrite_or_cannot_be_opened(
    home: Path, tmp_path: Path, identity: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    backup = tmp_path / "b.age"
    assert certshelf(home, "backup", str(backup), "--recipient", "age1nonsense") == 1
    assert not backup.exists()
    assert certshelf(home, "backup", str(backup), "--recipient", identity[0]) == 0
    assert certshelf(home, "backup", str(backup), "--recipient", identity[0]) == 1
    assert certshelf(home, "restore", str(backup), "--identity-file", str(identity[1])) == 1
    assert "is not empty" in capsys.readouterr().err
    other = tmp_path / "other"
    other.write_text(str(pyrage.x25519.Identity.generate()))
    new = tmp_path / "new"
    assert certshelf(new, "restore", str(backup), "--identity-file", str(other)) == 1
    assert not new.exists() or not any(new.iterdir())


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "keys.json",
        "history/../../x.pfx",
        "/etc/x",
        "history/..\\..\\x.pfx",
        "history/c:x.pfx",
    ],
)
def test_a_forged_archive_writes_nothing_outside(
    tmp_path: Path, identity: tuple[str, Path], name: str
) -> None:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    sealed = pyrage.encrypt(plain.getvalue(), [pyrage.x25519.Recipient.from_str(identity[0])])
    backup, new = tmp_path / "b.age", tmp_path / "deep" / "new"
    backup.write_bytes(sealed)
    assert certshelf(new, "restore", str(backup), "--identity-file", str(identity[1])) == 1
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.name in ("evil", "x.pfx")]
    assert not (new / "keys.json").exists()


def sealed_archive(to: str, folder: Path, header: bytes, zeros: int) -> Path:
    """A backup with one header and zeros after it, that a few kilobytes unpack to."""
    file, packed = folder / "bomb.age", io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as stream:
        stream.write(header)
        for _ in range(zeros >> 20):
            stream.write(bytes(1 << 20))
    file.write_bytes(pyrage.encrypt(packed.getvalue(), [pyrage.x25519.Recipient.from_str(to)]))
    return file


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_backup_that_unpacks_without_end_is_refused(
    tmp_path: Path, identity: tuple[str, Path], capsys: pytest.CaptureFixture[str], kind: bytes
) -> None:
    info = tarfile.TarInfo("certshelf.db")
    info.type, info.size = kind, 256 << 20
    bomb = sealed_archive(identity[0], tmp_path, info.tobuf(tarfile.USTAR_FORMAT), 256 << 20)
    assert bomb.stat().st_size < 1 << 20
    new = tmp_path / "new"
    assert certshelf(new, "restore", str(bomb), "--identity-file", str(identity[1])) == 1
    assert "no backup of certshelf" in capsys.readouterr().err
    assert sum(path.stat().st_size for path in new.rglob("*")) <= 128 << 20


def test_what_is_no_archive_is_refused_by_name(
    tmp_path: Path, identity: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "b.age"
    file.write_bytes(pyrage.encrypt(b"x", [pyrage.x25519.Recipient.from_str(identity[0])]))
    assert certshelf(tmp_path / "n", "restore", str(file), "--identity-file", str(identity[1])) == 1
    assert "no backup of certshelf" in capsys.readouterr().err


def test_an_identity_given_as_recipient_is_not_shown(
    home: Path, tmp_path: Path, identity: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    secret = identity[1].read_text().splitlines()[-1]
    assert certshelf(home, "backup", str(tmp_path / "b.age"), "--recipient", secret) == 1
    said = capsys.readouterr()
    assert secret[16:30] not in said.out + said.err

"""Backup and restore of a home: settings, records and history, encrypted to an age recipient.

The key file is never inside: whoever finds a backup and even its age identity still opens no
secret, and whoever restores needs the key file from where it is kept. The identity that opens a
backup need not be on this machine: only its public half is used here.
"""

from __future__ import annotations

import gzip
import importlib
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

from certshelf.clock import Clock
from certshelf.errors import ConfigError, RecordError
from certshelf.manage.db.snapshot import snapshot
from certshelf.manage.home import DATABASE_FILE, SETTINGS_FILE, Home, make_folder
from certshelf.manage.settings import load_settings

_MAX_MEMBERS = 1_000_000
_HISTORY = "history"
_PIECE = 1 << 16
_MAX_PIECE = 1 << 20
_LEAST_BYTES = 64 << 20
_MAX_RATIO = 100
_BINARY = getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds: how many files, and how many bytes it has encrypted."""

    files: int
    size_bytes: int


def write_backup(home: Home, recipients: list[str], out: Path, clock: Clock) -> Backup:
    """Write a new file with the whole home but its key file, encrypted to the recipients.

    recipients: age public keys (`age1...`). Raises ConfigError when a recipient is none, the file
    is there already, or the records lie on PostgreSQL (use its own tools); RecordError.
    """
    pyrage = _pyrage()
    keys = [_recipient(pyrage, text) for text in recipients]
    if load_settings(home.settings).database.url:
        raise ConfigError("the records lie on PostgreSQL", hint="back them up with pg_dump")
    with tempfile.TemporaryDirectory(prefix="certshelf-backup-") as folder:
        copy, plain = Path(folder) / DATABASE_FILE, Path(folder) / "archive"
        snapshot(home.database, copy)
        count = _pack(home, copy, plain, clock)
        with plain.open("rb") as source, _new_file(out) as target:
            pyrage.encrypt_io(source, target, keys)
    return Backup(count, out.stat().st_size)


def read_backup(backup: Path, identity: str, home: Home) -> int:
    """Unpack a backup into a new home; how many files. The key file is for the caller to bring.

    identity: the age secret key (`AGE-SECRET-KEY-1...`). Raises ConfigError when the home is not
    empty, the identity is none, or does not open this file: nothing is written then.
    """
    pyrage = _pyrage()
    if home.path.exists() and any(home.path.iterdir()):
        raise ConfigError(f"{home.path} is not empty", hint="restore into a new folder: --home DIR")
    with tempfile.TemporaryDirectory(prefix="certshelf-restore-") as folder:
        plain = Path(folder) / "archive"
        try:
            key = pyrage.x25519.Identity.from_str(identity.strip())
            with backup.open("rb") as source, plain.open("wb") as target:
                pyrage.decrypt_io(source, target, [key])
        except OSError as error:
            raise ConfigError(f"cannot read {backup}: {error.strerror}") from error
        except (pyrage.IdentityError, pyrage.DecryptError) as error:
            raise ConfigError(
                f"cannot open {backup}: {error}", hint="is it the right identity?"
            ) from error
        try:
            return _unpack(plain, home)
        except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile) as error:
            raise RecordError(f"{backup} is no backup of certshelf, or damaged") from error


def _pack(home: Home, database: Path, plain: Path, clock: Clock) -> int:
    count = 0
    with tarfile.open(plain, mode="w:gz") as archive:
        for name, path in _files(home, database):
            with path.open("rb") as file:
                info = tarfile.TarInfo(name)  # a file, also where the settings are a link to one
                info.size, info.mode = os.fstat(file.fileno()).st_size, 0o600
                info.mtime = int(clock.timestamp())
                archive.addfile(info, file)
            count += 1
    return count


def _files(home: Home, database: Path) -> list[tuple[str, Path]]:
    past = home.path / _HISTORY
    found = [(SETTINGS_FILE, home.settings), (DATABASE_FILE, database)]
    found += [
        (path.relative_to(home.path).as_posix(), path)
        for path in sorted(past.rglob("*.pfx"))
        if path.is_file() and not path.is_symlink()
    ]
    return [(name, path) for name, path in found if path.is_file()]


class _Archive(gzip.GzipFile):
    """What a backup unpacks to, in bounded pieces and no more than limit in all: it is hostile.

    Whoever knows the recipient's public key can make a file that the identity opens.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        self._left = max(_LEAST_BYTES, _MAX_RATIO * path.stat().st_size)

    def read(self, size: int | None = -1) -> bytes:
        """As a file's; RecordError beyond what a backup of ours needs."""
        if size is None or not 0 <= size <= _MAX_PIECE:
            raise RecordError("no backup of certshelf: it holds a header without end")
        data = super().read(size)
        self._left -= len(data)
        if self._left < 0:
            raise RecordError(f"no backup of certshelf: it unpacks to {_MAX_RATIO} times its size")
        return data


def _unpack(plain: Path, home: Home) -> int:
    make_folder(home.path)
    count = 0
    with _Archive(plain) as unzipped, tarfile.open(fileobj=unzipped, mode="r:") as archive:
        for member in archive:
            target = home.path / member.name
            if not _is_ours(member) or count >= _MAX_MEMBERS:
                raise RecordError(f"no backup of certshelf: it holds {member.name[:80]!r}")
            source = archive.extractfile(member)
            if source is None:
                continue
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _new_file(target) as file:
                shutil.copyfileobj(source, file, _PIECE)
            count += 1
    return count


def _is_ours(member: tarfile.TarInfo) -> bool:
    """Whether its name is one that _files() gives; no drive and no stream of Windows, either."""
    parts = member.name.split("/")
    known = member.name in (SETTINGS_FILE, DATABASE_FILE) or (
        parts[0] == _HISTORY and member.name.endswith(".pfx")
    )
    odd = not member.name.isprintable() or any(c in "\\:" for c in member.name)
    return member.isreg() and known and not odd and not {"", ".", ".."} & set(parts)


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that only we may read, whole on the disk at the end; never one that is there."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def _recipient(pyrage: ModuleType, text: str) -> object:
    if text.strip().upper().startswith("AGE-SECRET-KEY-"):
        raise ConfigError(
            "a recipient is a public key; that was the secret one",
            hint="other users could see it: make a new pair with age-keygen",
        )
    try:
        return pyrage.x25519.Recipient.from_str(text.strip())
    except pyrage.RecipientError as error:
        raise ConfigError(
            f"no age recipient: {text[:80]!r}", hint="it begins with age1; age-keygen makes one"
        ) from error


def _pyrage() -> ModuleType:
    try:
        return importlib.import_module("pyrage")
    except ModuleNotFoundError as error:
        raise ConfigError(
            "backups need the age library", hint="pip install 'certshelf[manager,backup]'"
        ) from error

"""Backup and restore of a home: settings, records and history, encrypted to an age recipient.

The key file is never inside: whoever finds a backup and even its age identity still opens no
secret, and whoever restores needs the key file from where it is kept. The identity that opens a
backup need not be on this machine: only its public half is used here.
"""

from __future__ import annotations

import importlib
import io
import os
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from certshelf.clock import Clock
from certshelf.errors import ConfigError, RecordError
from certshelf.manage.db.snapshot import snapshot
from certshelf.manage.home import DATABASE_FILE, SETTINGS_FILE, Home, make_folder
from certshelf.manage.settings import load_settings

_MAX_MEMBERS = 5_000_000
_HISTORY = "history"


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
        copy = Path(folder) / DATABASE_FILE
        snapshot(home.database, copy)
        plain = io.BytesIO()
        count = _pack(home, copy, plain, clock)
    sealed = pyrage.encrypt(plain.getvalue(), keys)
    _write_new(out, sealed)
    return Backup(count, len(sealed))


def read_backup(backup: Path, identity: str, home: Home) -> int:
    """Unpack a backup into a new home; how many files. The key file is for the caller to bring.

    identity: the age secret key (`AGE-SECRET-KEY-1...`). Raises ConfigError when the home is not
    empty, the identity is none, or does not open this file: nothing is written then.
    """
    pyrage = _pyrage()
    if home.path.exists() and any(home.path.iterdir()):
        raise ConfigError(f"{home.path} is not empty", hint="restore into a new folder: --home DIR")
    try:
        key = pyrage.x25519.Identity.from_str(identity.strip())
        plain = pyrage.decrypt(backup.read_bytes(), [key])
    except OSError as error:
        raise ConfigError(f"cannot read {backup}: {error.strerror}") from error
    except Exception as error:  # pyrage's own errors have no common base
        raise ConfigError(
            f"cannot open {backup}: {error}", hint="is it the right identity?"
        ) from error
    return _unpack(plain, home)


def _pack(home: Home, database: Path, plain: io.BytesIO, clock: Clock) -> int:
    count = 0
    with tarfile.open(fileobj=plain, mode="w:gz") as archive:
        for name, path in _files(home, database):
            with path.open("rb") as file:
                info = tarfile.TarInfo(name)  # a file, also where the settings are a link to one
                info.size, info.mode = os.fstat(file.fileno()).st_size, 0o600
                info.mtime = int(clock.now().timestamp())
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


def _unpack(plain: bytes, home: Home) -> int:
    make_folder(home.path)
    count = 0
    with tarfile.open(fileobj=io.BytesIO(plain), mode="r:gz") as archive:
        for member in archive:
            target = home.path / member.name
            if not _is_ours(member) or count >= _MAX_MEMBERS:
                raise RecordError(f"no backup of certshelf: it holds {member.name[:80]!r}")
            source = archive.extractfile(member)
            if source is None:
                continue
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write_new(target, source.read())
            count += 1
    return count


def _is_ours(member: tarfile.TarInfo) -> bool:
    parts = member.name.split("/")
    known = member.name in (SETTINGS_FILE, DATABASE_FILE) or (
        parts[0] == _HISTORY and member.name.endswith(".pfx")
    )
    return member.isreg() and known and not any(part in ("", ".", "..") for part in parts)


def _write_new(path: Path, data: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def _recipient(pyrage: ModuleType, text: str) -> object:
    try:
        return pyrage.x25519.Recipient.from_str(text.strip())
    except Exception as error:
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

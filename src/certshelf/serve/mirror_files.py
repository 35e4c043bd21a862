"""The files of a PEM mirror: written whole, with the server's rights, in a folder that is ours."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from certshelf.errors import ConfigError, NameInvalid
from certshelf.names import SUFFIX, HostName

PEM = ".pem"
_TEMP = ".tmp-"
_MAX_READ_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Rights:
    """Who reads the mirror. mode of its files; uid and gid: -1 leaves this process's own."""

    mode: int = 0o640
    uid: int = -1
    gid: int = -1

    @property
    def folder_mode(self) -> int:
        """The files' mode with `x` where there is `r`."""
        return self.mode | (self.mode & 0o444) >> 2 | 0o700


def pem_name(host: HostName) -> str:
    """The mirror's file for a host: `www.example.com.pem`, `_.example.com.pem`."""
    return host.file_name()[: -len(SUFFIX)] + PEM


class MirrorFolder:
    """One flat folder of `*.pem`. Only one thread uses it at a time."""

    def __init__(self, path: Path, rights: Rights) -> None:
        self.path = path.absolute()
        self.rights = rights

    def prepare(self) -> None:
        """Make the folder, or check the one that is there, and sweep what a kill left.

        Raises ConfigError for a link, or a folder that others own or may write: a key written
        there would be theirs.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check(self.path.lstat())
            if os.name == "posix":
                os.chown(self.path, self.rights.uid, self.rights.gid)
                self.path.chmod(self.rights.folder_mode)
            for left in self.path.glob(_TEMP + "*"):
                left.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot use {self.path} as a mirror: {error.strerror}") from error

    def write(self, name: str, data: bytes, mode: int | None = None) -> bool:
        """Put one file in place of the old one; False when it holds these bytes already.

        Not flushed to the disk: a mirror lies on tmpfs and is compared with the shelf at start.
        Raises OSError.
        """
        target = self.path / name
        if self.read(name) == data:
            return False
        temp = self.path / (_TEMP + secrets.token_hex(8))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        flags |= getattr(os, "O_BINARY", 0)
        descriptor = os.open(temp, flags, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if os.name == "posix":
                    os.fchown(file.fileno(), self.rights.uid, self.rights.gid)
                    os.fchmod(file.fileno(), self.rights.mode if mode is None else mode)
                file.write(data)
            temp.replace(target)
        except BaseException:
            temp.unlink(missing_ok=True)
            raise
        return True

    def read(self, name: str) -> bytes | None:
        """What a file holds; None when it is not there or no plain file."""
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        flags |= getattr(os, "O_NONBLOCK", 0)  # the server's account may have put a pipe there
        try:
            with os.fdopen(os.open(self.path / name, flags), "rb") as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_READ_BYTES:
                    return None
                return file.read(_MAX_READ_BYTES)
        except OSError:
            return None

    def remove(self, name: str) -> None:
        """Remove one file; nothing when it is not there."""
        (self.path / name).unlink(missing_ok=True)

    def hosts(self) -> Iterator[HostName]:
        """The hosts that the mirror has a file for; files of others are passed over."""
        for path in self.path.glob("*" + PEM):
            try:
                yield HostName.from_file_name(path.name[: -len(PEM)] + SUFFIX)
            except NameInvalid:
                continue

    def _check(self, found: os.stat_result) -> None:
        if not stat.S_ISDIR(found.st_mode):
            raise ConfigError(f"the mirror {self.path} is no folder")
        if os.name != "posix":
            return
        if found.st_uid not in {os.geteuid(), 0, self.rights.uid}:
            raise ConfigError(f"the mirror {self.path} belongs to another user")
        writable = 0o002 if found.st_gid == self.rights.gid else 0o022
        if found.st_mode & writable:
            raise ConfigError(
                f"others may write into the mirror {self.path}",
                hint="give it a folder of its own, or chmod go-w it",
            )

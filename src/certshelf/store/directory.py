"""One folder held open, in which no name is ever followed as a link out of it.

Where the system knows names relative to an open folder (POSIX `openat`), a folder that is swapped
for a link in the middle of a call changes nothing. Windows has no such calls in Python: there the
full path is used and links and junctions are refused by looking first.
Errors of the system pass through as they are; folder.py tells them as StoreErrors.
"""

# Pathlib knows no open folders.
# ruff: noqa: PTH104, PTH116

from __future__ import annotations

import errno
import os
import stat
from types import TracebackType

from certshelf.errors import StoreBusy, StoreInvalidName
from certshelf.store.base import MAX_BYTES, Version, too_large

_HAS_DIR_FD = os.open in os.supports_dir_fd
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_ALWAYS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOINHERIT", 0)
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _ALWAYS
READ = os.O_RDONLY | _NO_FOLLOW | getattr(os, "O_NONBLOCK", 0) | _ALWAYS  # a pipe must not block
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | _ALWAYS
_LOCK = os.O_RDWR | os.O_CREAT | _NO_FOLLOW | getattr(os, "O_NONBLOCK", 0) | _ALWAYS
_LINK_LIKE = 0x20000000  # name surrogate: symbolic links and junctions ([MS-FSCC] 2.1.2.1)
_READ_ATTEMPTS = 3
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)  # some network file systems


class Directory:
    """An open folder; a context manager that closes it."""

    def __init__(self, path: str, fd: int | None) -> None:
        self.path = path
        self.fd = fd

    @staticmethod
    def open(path: str) -> Directory:
        """Open the root as the user named it; here a link is the user's own and is followed."""
        if not _HAS_DIR_FD:
            if not stat.S_ISDIR(os.stat(path).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, "Not a directory", path)
            return Directory(path, None)
        return Directory(path, os.open(path, _FOLDER))

    def child(self, name: str, *, create: bool = False) -> Directory:
        """Open a sub-folder that is no link; make it first if told to. FileNotFoundError else."""
        try:
            found = os.stat(self._at(name), dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            if not create:
                raise
            self._make(name)
            found = os.stat(self._at(name), dir_fd=self.fd, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode) or _is_link_like(found):
            raise StoreInvalidName(
                f"{name} in {self.path} is no plain folder",
                hint="a shelf never follows links; move it away by hand",
            )
        path = f"{self.path}{os.sep}{name}"
        if self.fd is None:
            return Directory(path, None)
        return Directory(path, os.open(name, _FOLDER | _NO_FOLLOW, dir_fd=self.fd))

    def stat(self, name: str) -> os.stat_result | None:
        """What lies there, None when nothing does, StoreInvalidName when it is no plain file."""
        try:
            found = os.stat(self._at(name), dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        refuse_unless_plain(found, name, self.path)
        return found

    def open_plain(self, name: str) -> int:
        """Open an existing plain file for reading."""
        return open_plain(self._at(name), name, self.path, self.fd)

    def create(self, name: str) -> int:
        """Open a new file that only its owner may read; FileExistsError when it is there."""
        return os.open(self._at(name), _CREATE, 0o600, dir_fd=self.fd)

    def open_lock(self, name: str) -> int:
        """Open the file to lock; whoever may write in the folder may lock it."""
        mode = 0o660 if self.mode() & stat.S_IWGRP else 0o600
        return os.open(self._at(name), _LOCK, mode, dir_fd=self.fd)

    def replace(self, source: str, target: str) -> None:
        """Move source over target in one step."""
        os.replace(self._at(source), self._at(target), src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def move_new(self, source: str, target: str) -> None:
        """Give source the name target; FileExistsError when that is taken, whoever was faster.

        A hard link refuses an existing name in one step, and so does a rename on Windows.
        """
        if os.name == "nt":
            os.rename(self._at(source), self._at(target))
            return
        os.link(
            self._at(source),
            self._at(target),
            src_dir_fd=self.fd,
            dst_dir_fd=self.fd,
            follow_symlinks=False,
        )
        self.remove(source)

    def remove(self, name: str) -> None:
        """Remove one file or link, never a folder."""
        os.unlink(self._at(name), dir_fd=self.fd)

    def scan(self) -> os._ScandirIterator[str]:
        """What lies in it, as os.scandir() tells; close what it returns."""
        return os.scandir(self.path if self.fd is None else self.fd)

    def sync(self) -> None:
        """Make names durable, where the system can."""
        if self.fd is None:
            return
        try:
            os.fsync(self.fd)
        except OSError as error:
            if error.errno not in _NO_FOLDER_SYNC:
                raise

    def mode(self) -> int:
        """The folder's own permission bits, set-group-id included."""
        return stat.S_IMODE(os.stat(self.path if self.fd is None else self.fd).st_mode)

    def close(self) -> None:
        """Close it; not twice."""
        if self.fd is not None:
            os.close(self.fd)

    def __enter__(self) -> Directory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _make(self, name: str) -> None:
        """A set-group-id folder says that a group reads here: its sub-folders say so too."""
        mode = self.mode()
        try:
            os.mkdir(self._at(name), 0o700, dir_fd=self.fd)
        except FileExistsError:
            return
        if mode & stat.S_ISGID:
            os.chmod(self._at(name), stat.S_ISGID | mode & 0o770, dir_fd=self.fd)
        self.sync()

    def _at(self, name: str) -> str:
        return name if self.fd is not None else f"{self.path}{os.sep}{name}"


def open_plain(where: str, name: str, folder: str, dir_fd: int | None = None) -> int:
    """Open a plain file for reading without following a link or waiting for a pipe."""
    if not _NO_FOLLOW:
        refuse_unless_plain(os.stat(where, dir_fd=dir_fd, follow_symlinks=False), name, folder)
    return os.open(where, READ, dir_fd=dir_fd)


def read_plain(fd: int, name: str, folder: str) -> tuple[bytes, os.stat_result]:
    """The whole of an open file and what it looked like; refused by its size before it is read.

    Somebody who writes in place may be at it: read again while it changes, then StoreBusy.
    """
    for _ in range(_READ_ATTEMPTS):
        before = os.fstat(fd)
        refuse_unless_plain(before, name, folder)
        if before.st_size > MAX_BYTES:
            raise too_large(f"cannot read {name} in {folder}", before.st_size)
        os.lseek(fd, 0, os.SEEK_SET)
        data = _read(fd, before.st_size)
        after = os.fstat(fd)
        if (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, len(data)):
            return data, before
    raise StoreBusy(
        f"cannot read {name} in {folder}: it changes while it is read",
        hint="another program writes it in place; use `certshelf shelf put` instead",
    )


def _read(fd: int, size: int) -> bytes:
    data = os.read(fd, size + 1)
    while data and len(data) <= size:
        more = os.read(fd, size + 1 - len(data))
        if not more:
            break
        data += more
    return data


def refuse_unless_plain(found: os.stat_result, name: str, folder: str) -> None:
    """StoreInvalidName for a link, folder, pipe, socket or device."""
    if not stat.S_ISREG(found.st_mode) or _is_link_like(found):
        raise StoreInvalidName(
            f"{name} in {folder} is no plain file",
            hint="a shelf never follows links; move it away by hand",
        )


def version_of(found: os.stat_result) -> Version:
    """Another one after each write: our puts make a new inode with a time stamp of its own.

    The change time shows a copy in place that kept size and modification time.
    """
    return Version(f"{found.st_ino}-{found.st_mtime_ns}-{found.st_ctime_ns}-{found.st_size}")


def _is_link_like(found: os.stat_result) -> bool:
    return bool(getattr(found, "st_reparse_tag", 0) & _LINK_LIKE)

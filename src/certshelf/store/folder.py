"""A shelf's store in a folder of this machine, or of a share that the system has mounted.

A put writes `.NAME.RANDOM.tmp` in the same folder, flushes it to the disk, renames it over the
old file, flushes the folder and reads back: whoever opens the name sees the old bytes or the new.
"""

# Pathlib is too slow for a handshake.
# ruff: noqa: PTH100, PTH116

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from threading import Event
from typing import TypeVar

from certshelf.clock import SYSTEM, Clock
from certshelf.errors import (
    StoreBusy,
    StoreConflict,
    StoreCorrupt,
    StoreInvalidName,
    StoreTimeout,
)
from certshelf.store.base import (
    ABSENT,
    ANY,
    DEADLINE_SECONDS,
    HIDDEN,
    MAX_BYTES,
    MAX_DEPTH,
    Blob,
    Entry,
    Expect,
    Version,
    check_folder,
    check_key,
)
from certshelf.store.deadline import Deadline
from certshelf.store.directory import (
    Directory,
    open_plain,
    read_plain,
    refuse_unless_plain,
    version_of,
)
from certshelf.store.locality import is_local
from certshelf.store.locking import WritersLock, wait_for
from certshelf.store.oserrors import store_error
from certshelf.store.rights import inherit_rights
from certshelf.store.temps import is_temp, temp_name

T = TypeVar("T")
_HELD_OPEN = (5, 32, 33)  # Windows: the target of a rename is open somewhere
_CHUNK = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class FolderStore:
    """Keeps the whole contract of Store, also against links, pipes and folders planted in it.

    path: the folder; it must exist when the first call comes, not before.
    deadline_seconds: how long a put waits for other writers, and on a share any call for anything.
    On a local file system calls run in the caller's thread; on a share in a few threads of ours.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        clock: Clock = SYSTEM,
    ) -> None:
        self._url = os.fspath(path)
        self._path = os.path.abspath(self._url)
        self._prefix = self._path.rstrip(os.sep) + os.sep
        self._clock = clock
        self._deadline_seconds = deadline_seconds
        self._deadline = Deadline(deadline_seconds)
        self._lock = WritersLock(clock)
        self._local = self._find_locality()

    @property
    def url(self) -> str:
        """See Store."""
        return self._url

    @property
    def is_local(self) -> bool:
        """See Store."""
        return self._local

    def get(self, key: str) -> Blob | None:
        """See Store."""
        return self._bounded(partial(self._get, key), "read", key)

    def look(self, key: str) -> Version | None:
        """See Store. Locally about the cost of one stat."""
        if self._local:
            return self._look(key)
        return self._bounded(partial(self._look, key), "look at", key)

    def put(self, key: str, data: bytes, expect: Version | Expect) -> Version:
        """See Store. Rights of the new file: rights.py."""
        parts = check_key(key)
        if len(data) > MAX_BYTES:
            raise StoreCorrupt(f"{self._what('write', key)}: more than {MAX_BYTES} bytes")
        until = self._clock.monotonic() + self._deadline_seconds
        return self._bounded(partial(self._put, parts, data, expect, until), "write", key)

    def delete(self, key: str, expect: Version | Expect = ANY) -> bool:
        """See Store."""
        parts = check_key(key)
        until = self._clock.monotonic() + self._deadline_seconds
        return self._bounded(partial(self._delete, parts, expect, until), "delete", key)

    def list(self, folder: str = "") -> Iterator[Entry]:
        """See Store. Names that no key may have are left out. On a share the deadline is that of
        each thousand names.
        """
        parts = check_folder(folder)
        entries = self._entries(parts)
        while chunk := self._bounded(lambda: [*islice(entries, _CHUNK)], "list", folder or "names"):
            yield from chunk

    def left_out(self) -> Iterator[str]:
        """See LeavesOut."""
        yield from self._bounded(lambda: [*self._left_out()], "list", "names")

    def sweep(self, older_than_seconds: float = 3600.0) -> int:
        """See Store. Only plain files named exactly as our temps are, by their own time stamp."""
        before = self._clock.now() - timedelta(seconds=older_than_seconds)
        return self._bounded(partial(self._sweep, before), "sweep", "temps")

    def watch(self, stop: Event) -> Iterator[frozenset[str]]:
        """See Watchable."""
        from certshelf.store.watching import watch_folder

        return watch_folder(self, self._path, stop)

    def stamp(self) -> int | None:
        """See Stamped: the folder's own modification time. A share's clock is not ours: None."""
        if not self._local:
            return None
        try:
            return os.stat(self._path).st_mtime_ns
        except OSError:
            return None

    def close(self) -> None:
        """See Store."""
        self._deadline.close()

    # --- how each call is made

    def _find_locality(self) -> bool:
        try:
            return self._deadline.call(partial(is_local, self._path), "find out what file system")
        except (StoreTimeout, OSError):
            return False

    def _what(self, verb: str, key: str) -> str:
        return f"cannot {verb} {key} in {self._url}"

    def _bounded(self, call: Callable[[], T], verb: str, key: str) -> T:
        what = self._what(verb, key)
        try:
            return call() if self._local else self._deadline.call(call, what)
        except OSError as error:
            raise store_error(error, what) from error

    @contextmanager
    def _folder(self, parts: tuple[str, ...]) -> Iterator[Directory]:
        """The folder that holds a file of these parts; FileNotFoundError when there is none."""
        with Directory.open(self._path) as root, _below(root, parts) as folder:
            yield folder

    def _check_root(self) -> None:
        """A file that is not there is None; the whole folder not there is an error."""
        if not stat.S_ISDIR(os.stat(self._path).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory", self._path)

    # --- reading

    def _look(self, key: str) -> Version | None:
        parts = check_key(key)
        try:
            if len(parts) == 1:
                found = os.stat(self._prefix + key, follow_symlinks=False)
                if not stat.S_ISREG(found.st_mode):
                    refuse_unless_plain(found, key, self._url)
                return version_of(found)
            with self._folder(parts) as folder:
                in_folder = folder.stat(parts[-1])
            return None if in_folder is None else version_of(in_folder)
        except FileNotFoundError:
            self._refuse_missing_root("look at", key)
            return None
        except OSError as error:
            raise store_error(error, self._what("look at", key)) from error

    def _refuse_missing_root(self, verb: str, key: str) -> None:
        try:
            self._check_root()
        except OSError as error:
            raise store_error(error, self._what(verb, key)) from error

    def _get(self, key: str) -> Blob | None:
        parts = check_key(key)
        try:
            if len(parts) == 1:
                fd = open_plain(self._prefix + key, key, self._url)
            else:
                with self._folder(parts) as folder:
                    fd = folder.open_plain(parts[-1])
        except FileNotFoundError:
            self._refuse_missing_root("read", key)
            return None
        try:
            data, found = read_plain(fd, key, self._url)
        finally:
            os.close(fd)
        return Blob(data, version_of(found))

    def _entries(self, parts: tuple[str, ...]) -> Iterator[Entry]:
        try:
            with self._folder((*parts, "")) as folder, folder.scan() as found:
                for item in found:
                    entry = self._entry(parts, item)
                    if entry is not None:
                        yield entry
        except FileNotFoundError:
            self._check_root()

    def _entry(self, parts: tuple[str, ...], item: os.DirEntry[str]) -> Entry | None:
        try:
            key = "/".join((*parts, item.name))
            check_key(key)
            found = item.stat(follow_symlinks=False)
            refuse_unless_plain(found, key, self._url)
        except (StoreInvalidName, FileNotFoundError):
            return None
        modified = _EPOCH + timedelta(microseconds=found.st_mtime_ns // 1000)
        return Entry(key, found.st_size, version_of(found), modified)

    def _left_out(self) -> Iterator[str]:
        with Directory.open(self._path) as folder, folder.scan() as found:
            for item in found:
                if item.name.startswith("."):
                    continue
                try:
                    check_key(item.name)
                    kind = item.stat(follow_symlinks=False)
                    refuse_unless_plain(kind, item.name, self._url)
                except StoreInvalidName:
                    yield item.name
                except FileNotFoundError:
                    continue

    # --- writing

    def _put(
        self, parts: tuple[str, ...], data: bytes, expect: Version | Expect, until: float
    ) -> Version:
        key, name = "/".join(parts), parts[-1]
        with Directory.open(self._path) as root, _below(root, parts, create=True) as folder:
            temp = temp_name(name)
            fd = folder.create(temp)
            try:
                try:
                    self._fill(fd, folder, folder.stat(name), data)
                finally:
                    os.close(fd)
                with self._lock.held(root, key, until):
                    self._check(key, folder.stat(name), expect, "write")
                    self._move(folder, temp, name, expect, until)
                    folder.sync()
                    return self._read_back(folder, key, name, data)
            finally:
                with suppress(OSError):  # gone already when all went well
                    folder.remove(temp)

    def _fill(
        self, fd: int, folder: Directory, previous: os.stat_result | None, data: bytes
    ) -> None:
        """Write all, with rights and a time of its own: on a coarse clock two writes look alike."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        inherit_rights(fd, folder, previous)
        if os.utime in os.supports_fd:
            now = (self._clock.now() - _EPOCH) // timedelta(microseconds=1) * 1000
            now += secrets.randbelow(1000)
            os.utime(fd, ns=(now, now))
        os.fsync(fd)

    def _move(
        self, folder: Directory, temp: str, name: str, expect: Version | Expect, until: float
    ) -> None:
        what = self._what("write", name)
        if self._clock.monotonic() > until:  # its caller was told so: nothing may change now
            raise StoreTimeout(f"{what}: no answer within {self._deadline_seconds:g} s")
        if expect is ABSENT:
            try:
                folder.move_new(temp, name)
                return
            except FileExistsError as error:
                raise _conflict(what, expect, folder.stat(name)) from error
            except OSError:  # a file system without hard links; the lock still holds
                if folder.stat(name) is not None:
                    raise
        self._retry(lambda: folder.replace(temp, name), what, until)

    def _delete(self, parts: tuple[str, ...], expect: Version | Expect, until: float) -> bool:
        key, name = "/".join(parts), parts[-1]
        try:
            with Directory.open(self._path) as root, _below(root, parts) as folder:
                if folder.stat(name) is None:
                    return False
                with self._lock.held(root, key, until):
                    found = folder.stat(name)
                    if found is None:
                        return False
                    self._check(key, found, expect, "delete")
                    self._retry(lambda: folder.remove(name), self._what("delete", key), until)
                    folder.sync()
                    return True
        except FileNotFoundError:
            self._check_root()
            return False

    def _check(
        self, key: str, found: os.stat_result | None, expect: Version | Expect, verb: str
    ) -> None:
        version = None if found is None else version_of(found)
        if expect is not ANY and version != (None if expect is ABSENT else expect):
            raise _conflict(self._what(verb, key), expect, found)

    def _retry(self, act: Callable[[], None], what: str, until: float) -> None:
        """Act, again while Windows says that somebody has the file open; then StoreBusy."""
        last: list[OSError] = []

        def attempt() -> bool:
            try:
                act()
            except PermissionError as error:
                if getattr(error, "winerror", None) not in _HELD_OPEN:
                    raise
                last.append(error)
                return False
            return True

        if not wait_for(attempt, self._clock, until):
            raise StoreBusy(
                f"{what}: another program holds it open",
                hint="look for a virus scanner or a backup that holds it; the old file is whole",
                code=f"WinError {getattr(last[-1], 'winerror', '')}",
            ) from last[-1]

    def _read_back(self, folder: Directory, key: str, name: str, data: bytes) -> Version:
        fd = folder.open_plain(name)
        try:
            there, found = read_plain(fd, key, self._url)
        finally:
            os.close(fd)
        if hashlib.sha256(there).digest() != hashlib.sha256(data).digest():
            raise StoreCorrupt(
                f"{self._what('write', key)}: what was read back is something else",
                hint="check the disk, and that no other program writes this folder",
            )
        return version_of(found)

    def _sweep(self, before: datetime) -> int:
        with Directory.open(self._path) as root:
            count = _sweep_one(root, before)
            try:
                with root.child(HIDDEN) as hidden:
                    return count + _sweep_tree(hidden, before, MAX_DEPTH - 1)
            except (FileNotFoundError, StoreInvalidName):
                return count


@contextmanager
def _below(root: Directory, parts: tuple[str, ...], *, create: bool = False) -> Iterator[Directory]:
    """The folder below root that holds a file of these parts: root itself for one part."""
    with ExitStack() as opened:
        folder = root
        for name in parts[:-1]:
            folder = opened.enter_context(folder.child(name, create=create))
        yield folder


def _sweep_tree(folder: Directory, before: datetime, depth: int) -> int:
    count = _sweep_one(folder, before)
    if depth > 1:
        with folder.scan() as items:
            names = [item.name for item in items if item.is_dir(follow_symlinks=False)]
        for name in names:
            with suppress(FileNotFoundError, StoreInvalidName), folder.child(name) as child:
                count += _sweep_tree(child, before, depth - 1)
    return count


def _sweep_one(folder: Directory, before: datetime) -> int:
    with folder.scan() as items:
        temps = [item.name for item in items if is_temp(item.name)]
    count = 0
    for name in temps:
        with suppress(FileNotFoundError, StoreInvalidName):
            found = folder.stat(name)
            if found is not None and found.st_mtime < before.timestamp():
                folder.remove(name)
                count += 1
    return count


def _conflict(what: str, expect: Version | Expect, found: os.stat_result | None) -> StoreConflict:
    return StoreConflict(
        f"{what}: somebody else wrote it first",
        hint="read it again, then decide again",
        expected="absent" if isinstance(expect, Expect) else expect,
        found="absent" if found is None else version_of(found),
    )

"""How a file on a share is replaced or removed, whoever reads, writes or loses it meanwhile.

Windows refuses to rename over a file that anybody has open (MS-FSCC section 2.4.37,
STATUS_ACCESS_DENIED), so both are tried again until the deadline.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from certshelf.errors import (
    StoreBusy,
    StoreConflict,
    StoreCorrupt,
    StoreDenied,
    StoreError,
    StoreTimeout,
)
from certshelf.store import smb_status as status
from certshelf.store.base import ABSENT, ANY, MAX_BYTES, Expect, Version, lock_of
from certshelf.store.smb_calls import Calls, version_of
from certshelf.store.smb_messages import DELETE, Facts
from certshelf.store.smb_wire import Handle, StatusError, Wire
from certshelf.store.temps import temp_name

_DELETE_CHILD = 0x40
_READ_ONLY = 0x1


class WritersLock:
    """Keeps writers that compare before they write out of each other's way.

    On the share it is a file that one of them holds open for itself alone: the server lets go when
    its holder dies. Writers of different keys seldom share one, so they overlap on a slow network.
    Writers of ANY take no lock: of those the last one wins by definition.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._here: dict[str, Lock] = {}

    @contextmanager
    def held(
        self, wire: Wire, key: str, expect: Version | Expect, what: str, ends_at: float
    ) -> Iterator[None]:
        """Hold a key's for a with-block; StoreBusy when another writer has it to the deadline."""
        if isinstance(expect, Expect):
            yield
            return
        lock = lock_of(key)
        here = self._here.setdefault(lock, Lock())
        if not here.acquire(timeout=max(0.0, ends_at - self._calls.clock.monotonic())):
            raise _locked(what, lock)
        try:
            handle = self._take(wire, lock, what, ends_at)
            try:
                yield
            finally:
                wire.let_go(handle)
        finally:
            here.release()

    def _take(self, wire: Wire, lock: str, what: str, ends_at: float) -> Handle:
        parts, attempt = tuple(lock.split("/")), 0
        while True:
            try:
                return wire.hold(self._calls.path(parts))
            except StatusError as error:
                if error.status == status.PATH_NOT_FOUND:
                    for depth in range(1, len(parts)):
                        wire.make_folder(self._calls.path(parts[:depth]))
                elif error.status not in status.HELD:
                    raise
            if not self._calls.pause(attempt, ends_at):
                raise _locked(what, lock)
            attempt += 1


class Delete:
    """One delete."""

    def __init__(self, calls: Calls, lock: WritersLock, key: str, expect: Version | Expect) -> None:
        self._calls, self._lock = calls, lock
        self._key, self._path = key, calls.path(tuple(key.split("/")))
        self._expect = expect

    def __call__(self, wire: Wire, ends_at: float) -> bool:
        """Look, compare, remove; twice is safe."""
        calls, what = self._calls, self._calls.what("delete", self._key)
        with self._lock.held(wire, self._key, self._expect, what, ends_at):
            found = calls.look(wire, self._key, self._path)
            if found is None:
                return False
            check(what, self._expect, found)
            attempt = 0
            while True:
                try:
                    wire.remove(self._path)
                    return True
                except StatusError as error:
                    if error.status in status.NOT_THERE:
                        return False
                    if error.status not in status.HELD:
                        raise
                if not calls.pause(attempt, ends_at):
                    raise calls.busy("delete", self._key)
                attempt += 1


class Put:
    """One put, which can go on after its connection was lost in the middle."""

    def __init__(
        self,
        calls: Calls,
        lock: WritersLock,
        parts: tuple[str, ...],
        data: bytes,
        expect: Version | Expect,
    ) -> None:
        self._calls, self._lock = calls, lock
        self._parts, self._key = parts, "/".join(parts)
        self._path = calls.path(parts)
        self._what = calls.what("write", self._key)
        self._data, self._expect = data, expect
        self._temp = ""
        self._moving: Facts | None = None  # set before the rename: it may have happened

    def __call__(self, wire: Wire, ends_at: float) -> Version:
        """Write a temp, compare, rename, read back; called again it goes on where it was."""
        if self._moving is not None and self._is_in_place(wire):
            return self._read_back(wire, ends_at)
        if self._temp:
            removed(wire, self._temp)
        self._temp = self._calls.path((*self._parts[:-1], temp_name(self._parts[-1])))
        made = self._write(wire)
        try:
            with self._lock.held(wire, self._key, self._expect, self._what, ends_at):
                if not isinstance(self._expect, Expect):
                    found = self._calls.look(wire, self._key, self._path)
                    check(self._what, self._expect, found)
                self._moving = made
                self._move(wire, ends_at)
        except (StoreError, StatusError):
            removed(wire, self._temp)
            raise
        return self._read_back(wire, ends_at)

    def _write(self, wire: Wire) -> Facts:
        try:
            return wire.write_new(self._temp, self._data)
        except StatusError as error:
            if error.status == status.PATH_NOT_FOUND and len(self._parts) > 1:
                for depth in range(1, len(self._parts)):
                    wire.make_folder(self._calls.path(self._parts[:depth]))
                return wire.write_new(self._temp, self._data)
            if error.status != status.ACCESS_DENIED:  # a full disk leaves half a file
                removed(wire, self._temp)
            raise

    def _move(self, wire: Wire, ends_at: float) -> None:
        calls, attempt = self._calls, 0
        while True:
            if calls.clock.monotonic() > ends_at:  # its caller was told so: nothing may change
                raise StoreTimeout(f"{self._what}: no answer within {calls.seconds:g} s")
            try:
                wire.rename(self._temp, self._path, replace=self._expect is not ABSENT)
                return
            except StatusError as error:
                if error.status == status.NAME_COLLISION and self._expect is ABSENT:
                    found = calls.look(wire, self._key, self._path)
                    check(self._what, ABSENT, found or Version("gone again"))
                if error.status == status.ACCESS_DENIED:
                    self._refuse_if_really_denied(wire)
                elif error.status not in status.HELD:
                    raise
            if not calls.pause(attempt, ends_at):
                raise calls.busy("write", self._key)
            attempt += 1

    def _refuse_if_really_denied(self, wire: Wire) -> None:
        """Windows says "access denied" for an open target too: ask what this account may do."""
        denied = StoreDenied(
            f"{self._what}: this account may not replace it",
            hint="check the rights: certshelf share check",
            code=f"0x{status.ACCESS_DENIED:08X}",
        )
        if not wire.rights(self._temp).maximal_access & DELETE:
            raise denied
        try:
            target = wire.rights(self._path)
        except StatusError as error:
            if error.status in status.NOT_THERE:
                return
            raise
        self._calls.refuse_unless_plain(self._key, target.facts)
        if target.facts.attributes & _READ_ONLY:
            raise denied
        if not target.maximal_access & DELETE:
            parent = self._calls.path(self._parts[:-1])
            if not wire.rights(parent).maximal_access & _DELETE_CHILD:
                raise denied

    def _is_in_place(self, wire: Wire) -> bool:
        try:
            return self._is_ours(wire.facts(self._path))
        except StatusError as error:
            if error.status in status.NOT_THERE:
                return False
            raise

    def _is_ours(self, facts: Facts) -> bool:
        return self._moving is not None and facts.file_id == self._moving.file_id

    def _read_back(self, wire: Wire, ends_at: float) -> Version:
        attempt = 0
        while True:
            try:
                facts, there = wire.read(self._path, MAX_BYTES)
                if there == self._data or not self._is_ours(facts):
                    return version_of(facts)  # not ours: somebody wrote right after us
                raise StoreCorrupt(
                    f"{self._what}: what is read back is other bytes",
                    hint="check the file server's disk, and that nothing else writes this folder",
                )
            except StatusError as error:
                if error.status not in status.HELD | status.NOT_THERE:
                    raise
            if not self._calls.pause(attempt, ends_at):
                raise self._calls.busy("read back", self._key)
            attempt += 1


def check(what: str, expect: Version | Expect, found: Version | None) -> None:
    """Raise StoreConflict unless what was found is what was expected."""
    if expect is ANY or found == (None if expect is ABSENT else expect):
        return
    raise StoreConflict(
        f"{what}: somebody else wrote it first",
        hint="read it again, then decide again",
        expected="absent" if isinstance(expect, Expect) else expect,
        found=found or "absent",
    )


def removed(wire: Wire, path: str) -> bool:
    """Remove a temp; False when that cannot be done: a later sweep will."""
    try:
        wire.remove(path)
    except StatusError:
        return False
    return True


def _locked(what: str, lock: str) -> StoreBusy:
    return StoreBusy(
        f"{what}: another writer holds {lock}",
        hint="wait for the other certshelf to end; the file server shows who has it open",
    )

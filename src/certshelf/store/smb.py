"""A shelf's store on an SMB share, spoken to directly: nothing is mounted.

A put writes `.NAME.RANDOM.tmp` in the same folder, has it flushed, renames it over the old file
and reads it back on a fresh handle. Readers open with every share mode and close at once.
Measured on Samba 4.17: a reader may be told "not there" in the middle of a replace, so a file
counts as missing only when two looks say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from threading import Event

from certshelf.clock import SYSTEM, Clock
from certshelf.errors import StoreCorrupt, StoreError, StoreInvalidName
from certshelf.store import smb_status as status
from certshelf.store.base import (
    ANY,
    DEADLINE_SECONDS,
    HIDDEN,
    MAX_BYTES,
    MAX_DEPTH,
    Blob,
    Entry,
    Expect,
    StoreCredentials,
    Version,
    check_folder,
    check_key,
)
from certshelf.store.smb_address import parse_address
from certshelf.store.smb_calls import Calls, version_of
from certshelf.store.smb_messages import Facts
from certshelf.store.smb_wire import Handle, Login, StatusError, Wire, WireLost
from certshelf.store.smb_write import Delete, Put, WritersLock, removed
from certshelf.store.temps import is_temp


class SmbStore:
    """Keeps the whole contract of Store over SMB 3, encrypted unless its address says otherwise.

    Build one with from_url(). calls: the connection, for what else is asked of a share.
    """

    def __init__(
        self,
        url: str,
        login: Login,
        folder: tuple[str, ...],
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        clock: Clock = SYSTEM,
    ) -> None:
        self.calls = Calls(url, login, folder, deadline_seconds, clock)
        self._lock = WritersLock(self.calls)

    @staticmethod
    def from_url(
        url: str,
        credentials: StoreCredentials | None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> SmbStore:
        """A store at `smb://[DOMAIN;]user@server[:port]/share/folder[?encryption=off]`.

        credentials: the account's password, and its name when the URL has none; None for the
        Kerberos ticket of this process. Connects at the first call. Raises ConfigError.
        """
        login, folder = parse_address(url, credentials)
        return SmbStore(url, login, folder, deadline_seconds=deadline_seconds)

    @property
    def url(self) -> str:
        """See Store."""
        return self.calls.url

    @property
    def is_local(self) -> bool:
        """See Store."""
        return False

    def make_root(self) -> bool:
        """Make the store's own folder on the share, its parents too, if it is not there.

        Whether it was made. Raises StoreDenied when this account may not.
        """
        return self.calls.run("make", "the folder", partial(self._make_root, self.calls.root))

    def _make_root(self, root: str, wire: Wire, ends_at: float) -> bool:
        try:
            wire.facts(root)
            return False
        except StatusError as error:
            if error.status not in status.NOT_THERE:
                raise
        parts = root.split("\\")
        for depth in range(1, len(parts) + 1):
            wire.make_folder("\\".join(parts[:depth]))
        return True

    def get(self, key: str) -> Blob | None:
        """See Store."""
        path = self.calls.path(check_key(key))
        return self.calls.run("read", key, partial(self._get, key, path))

    def look(self, key: str) -> Version | None:
        """See Store."""
        path = self.calls.path(check_key(key))
        return self.calls.run("look at", key, lambda wire, _: self.calls.look(wire, key, path))

    def put(self, key: str, data: bytes, expect: Version | Expect) -> Version:
        """See Store. With ANY the last writer wins, and none waits for another."""
        parts = check_key(key)
        if len(data) > MAX_BYTES:
            raise StoreCorrupt(f"{self.calls.what('write', key)}: more than {MAX_BYTES} bytes")
        put = Put(self.calls, self._lock, parts, bytes(data), expect)
        return self.calls.run("write", key, put)

    def delete(self, key: str, expect: Version | Expect = ANY) -> bool:
        """See Store."""
        check_key(key)
        return self.calls.run("delete", key, Delete(self.calls, self._lock, key, expect))

    def list(self, folder: str = "") -> Iterator[Entry]:
        """See Store. The deadline is that of each page of some hundred names."""
        parts = check_folder(folder)
        for name, facts in self.scan(folder):
            entry = _entry(parts, name, facts)
            if entry is not None:
                yield entry

    def left_out(self) -> Iterator[str]:
        """See LeavesOut."""
        for name, facts in self.scan():
            if not name.startswith(".") and _entry((), name, facts) is None:
                yield name

    def scan(self, folder: str = "") -> Iterator[tuple[str, Facts]]:
        """All that lies in a folder, also temps, links and folders; the names are the server's."""
        name = folder or "names"
        opened = self.calls.run("list", name, partial(self._open_folder, folder))
        if opened is None:
            return
        wire, handle = opened
        try:
            while page := self.calls.on(wire, "list", name, partial(wire.scan, handle)):
                yield from (item for item in page if item[0] not in (".", ".."))
        finally:
            with suppress(StoreError):
                self.calls.on(wire, "list", name, partial(wire.release, handle))

    def sweep(self, older_than_seconds: float = 3600.0) -> int:
        """See Store. By the file server's time stamps and this machine's clock."""
        before = self.calls.clock.timestamp() - older_than_seconds
        return self._sweep("", before)

    def watch(self, stop: Event) -> Iterator[frozenset[str]]:
        """See Watchable: the server's own change notification, on a connection of its own."""
        if stop.is_set():
            return
        wire = self.calls.fresh("watch", "names")
        try:
            handle = self.calls.on(
                wire, "watch", "names", lambda: wire.open_folder(self.calls.root)
            )
            while (told := _next_changes(wire, handle, stop)) is not None:
                keys = _keys(told)
                if keys or not told:
                    yield keys
        finally:
            wire.close()

    def check_login(self) -> None:
        """Log in anew and open the folder; raises what a call would raise."""
        wire = self.calls.fresh("log in to", "the folder")
        try:
            self.calls.on(wire, "open", "the folder", lambda: wire.open_folder(self.calls.root))
        finally:
            wire.close()

    def close(self) -> None:
        """See Store."""
        self.calls.close()

    def _get(self, key: str, path: str, wire: Wire, ends_at: float) -> Blob | None:
        attempt, missing = 0, False
        while True:
            try:
                facts, data = wire.read(path, MAX_BYTES)
                self.calls.refuse_unless_plain(key, facts)
                if len(data) == facts.size:
                    return Blob(data, version_of(facts))
            except StatusError as error:
                if error.status in status.NOT_THERE:
                    if missing:
                        self.calls.refuse_missing_root(wire, error.status)
                        return None
                    missing = True
                    continue
                if error.status not in status.HELD:
                    raise
            if not self.calls.pause(attempt, ends_at):  # held, or just written in place
                raise self.calls.busy("read", key)
            attempt += 1

    def _open_folder(self, folder: str, wire: Wire, _ends_at: float) -> tuple[Wire, Handle] | None:
        parts = tuple(folder.split("/")) if folder else ()
        try:
            return wire, wire.open_folder(self.calls.place(parts))
        except StatusError as error:
            if not parts or error.status not in status.NOT_THERE:
                raise
            wire.facts(self.calls.root)
            return None

    def _sweep(self, folder: str, before: float) -> int:
        found = [item for item in self.scan(folder) if not item[1].is_link]
        count = 0
        for name, facts in found:
            key = f"{folder}/{name}" if folder else name
            if facts.is_folder:
                if key.split("/")[0] == HIDDEN and key.count("/") + 1 < MAX_DEPTH:
                    count += self._sweep(key, before)
            elif is_temp(name) and facts.modified.timestamp() < before:
                remove = partial(_remove_temp, self.calls.place(tuple(key.split("/"))))
                count += self.calls.run("sweep", name, remove)
        return count


def _remove_temp(path: str, wire: Wire, _ends_at: float) -> bool:
    return removed(wire, path)


def _entry(parts: tuple[str, ...], name: str, facts: Facts) -> Entry | None:
    if facts.is_folder or facts.is_link:
        return None
    try:
        key = "/".join((*parts, name))
        check_key(key)
    except StoreInvalidName:  # temps, the lock, and what is not ours
        return None
    return Entry(key, facts.size, version_of(facts), facts.modified)


def _next_changes(wire: Wire, handle: Handle, stop: Event) -> list[tuple[int, str]] | None:
    """The next changes, or None when stopped or when the watch broke."""
    with suppress(WireLost, StatusError):
        return None if stop.is_set() else wire.changes(handle, stop)
    return None


def _keys(told: list[tuple[int, str]]) -> frozenset[str]:
    keys = set()
    for _, name in told:
        with suppress(StoreInvalidName):
            keys.add("/".join(check_key(name)))
    return frozenset(keys)

"""A local CCS folder that is kept equal to the shelf: for an IIS that must survive a lost share.

The files are those of the shelf, byte for byte, under every name that IIS looks for. Only what the
resolver vouches for is copied; only what this mirror wrote is ever removed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from threading import Thread

from certshelf.clock import Clock
from certshelf.errors import NameInvalid, StoreError
from certshelf.names import HostName
from certshelf.serve.changes import ChangeQueue, Changes
from certshelf.serve.log import ReaderLog
from certshelf.serve.source import BundleSource
from certshelf.store.base import ANY, Store

RECORD = ".certshelf/mirror.json"
_SWEEP_SECONDS = 5.0


class PfxMirror:
    """Copies files in a thread of its own. target: the local folder as a store.

    grace_s: how long a name that left the shelf stays.
    """

    def __init__(
        self, target: Store, source: BundleSource, log: ReaderLog, clock: Clock, grace_s: float
    ) -> None:
        self._target = target
        self._source = source
        self._log = log
        self._clock = clock
        self._grace_s = grace_s
        self._queue = ChangeQueue()
        self._ours: set[str] = set()
        self._leaving: dict[str, float] = {}
        self._again: set[str] = set()
        self._again_at = 0.0
        self._unsubscribe: Callable[[], None] | None = None
        self._thread = Thread(target=self._run, name="certshelf-mirror-pfx", daemon=True)

    def start(self) -> None:
        """Begin to copy; StoreError when the folder cannot be read."""
        blob = self._target.get(RECORD)
        self._ours = _names(blob.data) if blob else set()
        self._unsubscribe = self._source.subscribe(self._queue.put)
        self._thread.start()

    def close(self) -> None:
        """Stop; the files stay."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        self._queue.close()
        if self._thread.is_alive():
            self._thread.join(10.0)

    def _run(self) -> None:
        while not self._source.wait_ready(0.5):
            if self._queue.closed:
                return
        self._apply(Changes(everything=True, names=frozenset()))
        self._log.event("mirror-pfx-filled", names=len(self._ours))
        while not self._queue.closed:
            changes = self._queue.take(_SWEEP_SECONDS)
            if changes is not None:
                self._apply(changes)
            self._sweep()

    def _apply(self, changes: Changes) -> None:
        names = set(changes.names)
        if changes.everything:
            names = self._ours | {host.ascii for host in self._source.hosts()}
        before = set(self._ours)
        for name in names:
            try:
                self._sync(HostName.parse(name))
                self._again.discard(name)
            except NameInvalid:
                continue
            except StoreError as error:
                self._again.add(name)
                self._log.event("mirror-pfx-failed", name=name, reason=str(error))
        if self._ours != before:
            self._write_record()

    def _sync(self, host: HostName) -> None:
        found = self._source.exact(host)
        if found is None:
            if self._source.holds(host):
                self._again.add(host.ascii)
            elif host.ascii in self._ours:
                self._leaving.setdefault(host.ascii, self._clock.monotonic() + self._grace_s)
            return
        self._leaving.pop(host.ascii, None)
        for file in host.file_names():
            there = self._target.get(file)
            if there is None or there.data != found.data:
                self._target.put(file, found.data, ANY)
        self._ours.add(host.ascii)

    def _sweep(self) -> None:
        now = self._clock.monotonic()
        if self._again and now >= self._again_at:
            self._again_at = now + _SWEEP_SECONDS
            self._queue.put(frozenset(self._again))
        due = [name for name, when in self._leaving.items() if when <= now]
        for name in due:
            try:
                for file in HostName.parse(name).file_names():
                    self._target.delete(file)
            except StoreError as error:
                self._log.event("mirror-pfx-failed", name=name, reason=str(error))
                continue
            del self._leaving[name]
            self._ours.discard(name)
            self._log.event("mirror-pfx-removed", name=name)
        if due:
            self._write_record()

    def _write_record(self) -> None:
        """Remember what is ours, so that a name retired while nobody ran is removed later."""
        try:
            self._target.put(RECORD, json.dumps(sorted(self._ours)).encode("ascii"), ANY)
        except StoreError as error:
            self._log.event("mirror-pfx-failed", name=RECORD, reason=str(error))


def _names(data: bytes) -> set[str]:
    """The names of a record; none of a torn one, and then nothing is removed."""
    try:
        names = json.loads(data)
    except ValueError:
        return set()
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()

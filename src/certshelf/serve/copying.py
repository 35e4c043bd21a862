"""What every copy of the shelf does: follow its changes, wait with what left it, try again.

The PEM mirror and the local CCS folder are such copies; each says how one name is written.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from threading import Thread

from certshelf.clock import Clock
from certshelf.errors import NameInvalid, StoreError
from certshelf.names import HostName
from certshelf.serve.changes import ChangeQueue, Changes
from certshelf.serve.log import ReaderLog
from certshelf.serve.source import BundleSource, Found

GRACE_SECONDS = 3600.0
SWEEP_SECONDS = 5.0


class Copying(ABC):
    """Copies in one thread of its own. kind: in the log's events and the thread's name.

    grace_s: how long a name that left the shelf stays. What cannot be read or written now is tried
    again; nothing is removed because a store is silent.
    """

    kind = ""

    def __init__(self, source: BundleSource, log: ReaderLog, clock: Clock, grace_s: float) -> None:
        self._source = source
        self._log = log
        self._clock = clock
        self._grace_s = grace_s
        self._queue = ChangeQueue()
        self._held: set[str] = set()
        """The host names that the copy has."""
        self._leaving: dict[str, float] = {}
        self._again: set[str] = set()
        self._again_at = 0.0
        self._unsubscribe: Callable[[], None] | None = None
        self._thread = Thread(target=self._run, name=f"certshelf-{self.kind}", daemon=True)

    def held(self) -> set[str]:
        """The host names that are copied now. Any thread."""
        return self._held.copy()

    def start(self) -> None:
        """Begin to copy."""
        self._unsubscribe = self._source.subscribe(self._queue.put)
        self._thread.start()

    def close(self) -> None:
        """Stop; the files stay, so that the servers go on."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        self._queue.close()
        if self._thread.is_alive():
            self._thread.join(10.0)

    # --- what a kind of copy says

    @abstractmethod
    def _copy(self, host: HostName, found: Found) -> bool:
        """Write what was found; whether those who look at the copy must look again.

        Raises OSError or StoreError, and is called again later.
        """

    @abstractmethod
    def _remove(self, host: HostName) -> None:
        """Remove a name whose time is up. Raises as _copy()."""

    @abstractmethod
    def _changed(self, names: set[str]) -> None:
        """These were copied, or are about to leave."""

    @abstractmethod
    def _removed(self, names: set[str]) -> None:
        """These are gone."""

    def _names(self) -> set[str]:
        """All that is to be looked at, when everything is."""
        return self._held.union(host.ascii for host in self._source.hosts())

    # --- the thread

    def _run(self) -> None:
        while not self._source.wait_ready(0.5):
            if self._queue.closed:
                return
        started = self._clock.monotonic()
        self._survive(self._apply, Changes(everything=True, names=frozenset()))
        took = round(self._clock.monotonic() - started, 3)
        self._log.event(f"{self.kind}-filled", names=len(self._held), seconds=took)
        while not self._queue.closed:
            changes = self._queue.take(SWEEP_SECONDS)
            if changes is not None:
                self._survive(self._apply, changes)
            self._survive(self._sweep)

    def _survive(self, job: Callable[..., None], *given: Changes) -> None:
        """The thread's outer wall: an error that nobody foresaw ends one job, never the copying."""
        try:
            job(*given)
        except Exception as error:  # noqa: BLE001
            self._log.event(f"{self.kind}-failed", reason=f"unforeseen {type(error).__name__}")

    def _apply(self, changes: Changes) -> None:
        names = self._names() if changes.everything else changes.names
        changed = {host.ascii for host in _hosts(names) if self._sync(host)}
        if changed:
            self._changed(changed)

    def _sync(self, host: HostName) -> bool:
        """Make one name right; whether those who look at the copy must look again."""
        name = host.ascii
        found = self._source.exact(host)
        if found is None:
            return self._missing(host)
        self._leaving.pop(name, None)
        try:
            changed = self._copy(host, found)
        except (OSError, StoreError) as error:
            self._again.add(name)
            self._failed(name, error)
            return False
        self._again.discard(name)
        self._held.add(name)
        return changed

    def _missing(self, host: HostName) -> bool:
        """Nothing good lies under a name: on its way or garbage (look again), or gone."""
        name = host.ascii
        if self._source.holds(host):
            self._again.add(name)
            return False
        self._again.discard(name)
        if name not in self._held or name in self._leaving:
            return False
        self._leaving[name] = self._clock.monotonic() + self._grace_s
        return True

    def _sweep(self) -> None:
        """Remove what left the shelf a grace time ago; try again what could not be copied."""
        now = self._clock.monotonic()
        if self._again and now >= self._again_at:
            self._again_at = now + SWEEP_SECONDS
            self._queue.put(frozenset(self._again))
        gone = {name for name, when in self._leaving.items() if when <= now and self._is_gone(name)}
        for name in gone:
            del self._leaving[name]
            self._held.discard(name)
            self._log.event(f"{self.kind}-removed", name=name)
        if gone:
            self._removed(gone)

    def _is_gone(self, name: str) -> bool:
        try:
            self._remove(HostName.parse(name))
        except (OSError, StoreError) as error:
            self._failed(name, error)
            return False
        return True

    def _failed(self, name: str, error: OSError | StoreError) -> None:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        self._log.event(f"{self.kind}-failed", name=name, reason=str(reason))


def _hosts(names: Iterable[str]) -> Iterator[HostName]:
    for name in names:
        with suppress(NameInvalid):
            yield HostName.parse(name)

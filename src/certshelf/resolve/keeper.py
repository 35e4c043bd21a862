"""The keeper: background threads that keep the index and what is served fresh.

One thread lists the store when it is due, one listens to its change hints where it has any, and a
few load files, so that one hanging call never holds up another name.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from typing import Protocol

from certshelf.clock import Clock
from certshelf.errors import StoreError
from certshelf.names import SUFFIX
from certshelf.resolve.index import NameIndex
from certshelf.resolve.loading import Served
from certshelf.store.base import Store, Version, Watchable

_LOADERS = 4
_MAX_QUEUED = 10_000
_STAMP_SECONDS = 1.0
_REST = 10.0
"""After a listing of t seconds the next one waits 10 t: a large shelf is not listed all day."""


class _Forks:
    """How often this process was forked from another: cheaper to ask than the process's number."""

    count = 0


def _count_fork() -> None:
    _Forks.count += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


class Keepable(Protocol):
    """What the keeper needs of a resolver."""

    def reload(self, file: str) -> Served | None:
        """Read a file now."""
        ...

    def settle(self, file: str) -> None:
        """A file is gone: was it retired?"""
        ...

    def is_served(self, file: str) -> bool:
        """Whether it is in memory."""
        ...

    def served_files(self) -> tuple[str, ...]:
        """All that is in memory."""
        ...

    def is_behind(self, file: str, version: Version | None) -> bool:
        """Whether this version is new to us."""
        ...

    def forget_absent(self, stems: frozenset[str]) -> None:
        """These may be there now."""
        ...

    def due_again(self) -> list[str]:
        """Refused files that may be good by now."""
        ...

    def surprised(self) -> None:
        """Count an error that nobody foresaw."""
        ...

    def tell(self, stems: frozenset[str]) -> None:
        """Tell the listeners."""
        ...


class Keeper:
    """The threads of one resolver: all daemons, so a hung share cannot hold the process."""

    def __init__(
        self,
        resolver: Keepable,
        index: NameIndex,
        store: Store,
        poll_seconds: float,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._resolver = resolver
        self._index = index
        self._store = store
        self._poll_seconds = poll_seconds
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._ready = threading.Event()
        self._queue: queue.Queue[Callable[[], object] | None] = queue.Queue(_MAX_QUEUED)
        self._queued: set[str] = set()
        self._threads: list[threading.Thread] = []
        self._forks = _Forks.count
        self._was_away = False

    def survive_fork(self) -> None:
        """Start the threads anew in a forked worker: threads do not live on there."""
        if self._forks == _Forks.count:
            return
        self._forks = _Forks.count
        if self._threads and not self._stop.is_set():
            self._threads, self._queued = [], set()
            self._queue = queue.Queue(_MAX_QUEUED)
            self._wake = threading.Event()
            self.start()

    def distrust(self) -> None:
        """Nobody watched what is served: look at it all after the first listing. Before start."""
        self._was_away = True

    def start(self) -> None:
        """Start the threads, once."""
        if self._threads:
            return
        jobs: list[Callable[[], None]] = [self._list_forever]
        jobs += [self._load_forever] * (1 if self._store.is_local else _LOADERS)
        if isinstance(self._store, Watchable):
            jobs.append(self._watch_forever)
        self._threads = [
            threading.Thread(target=job, name="certshelf-keeper", daemon=True) for job in jobs
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Ask the threads to end, and wait for those that are not in a hanging call."""
        self._stop.set()
        self._wake.set()
        for _ in range(_LOADERS):
            self._put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=1.0)

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait for the first complete listing."""
        return self._ready.wait(timeout_s)

    def hurry(self, file: str) -> None:
        """Look at a file soon, off the handshake path; asked twice it is done once."""
        if file in self._queued:
            return
        self._queued.add(file)
        if not self._put(lambda: self._refresh(file)):
            self._queued.discard(file)

    def later(self, call: Callable[..., object], *args: object) -> None:
        """Do something off the handshake path; at once when nothing runs in the background."""
        if not self._threads or not self._put(lambda: call(*args)):
            call(*args)

    def _put(self, job: Callable[[], object] | None) -> bool:
        try:
            self._queue.put_nowait(job)
        except queue.Full:
            return False
        return True

    def _refresh(self, file: str) -> None:
        self._queued.discard(file)
        try:
            version = self._store.look(file)
        except StoreError:
            self._resolver.reload(file)  # counts the error, or falls back to the disk copy
            return
        if version is None:
            if self._resolver.is_served(file):
                self._resolver.settle(file)
        elif self._resolver.is_behind(file, version):
            self._resolver.reload(file)

    # --- the threads

    def _load_forever(self) -> None:
        while not self._stop.is_set():
            job = self._queue.get()
            if job is None:
                return
            self._survive(job)

    def _list_forever(self) -> None:
        while not self._stop.is_set():
            started = self._clock.monotonic()
            self._survive(self._list)
            took = self._clock.monotonic() - started
            self._wait(self._poll_seconds, at_least=took * _REST)

    def _survive(self, job: Callable[[], object]) -> None:
        """A thread's outer wall: a listener's error ends one job, never the thread."""
        try:
            job()
        except Exception:  # noqa: BLE001
            self._resolver.surprised()

    def _wait(self, seconds: float, at_least: float) -> None:
        """Until the poll is due, a hint came, or the folder's own stamp moved."""
        slept = 0.0
        while slept < seconds and not self._stop.is_set():
            if self._wake.wait(_STAMP_SECONDS):
                self._wake.clear()
                slept = seconds if slept >= at_least else slept
            slept += _STAMP_SECONDS
            if slept >= at_least and self._index.is_behind():
                return

    def _list(self) -> None:
        """One listing and what follows from it."""
        try:
            changed = self._index.refresh()
        except StoreError:
            self._was_away = True
            return
        self._ready.set()
        self._changed(changed)
        if self._was_away:
            self._catch_up()
        for file in self._resolver.due_again():
            self.hurry(file)

    def _catch_up(self) -> None:
        """The store is back: nobody saw what changed meanwhile, so all that is served is behind
        until it was looked at, and listeners look at all."""
        self._was_away = False
        for file in self._resolver.served_files():
            self.hurry(file)
        self.later(self._resolver.tell, frozenset())

    def _watch(self) -> None:
        assert isinstance(self._store, Watchable)  # noqa: S101  start() looked
        with contextlib.suppress(StoreError):
            for keys in self._store.watch(self._stop):
                self._hinted(keys)

    def _watch_forever(self) -> None:
        while not self._stop.is_set():
            self._survive(self._watch)
            self._stop.wait(_STAMP_SECONDS)  # a watch that ended is begun again
            self._wake.set()

    def _hinted(self, keys: frozenset[str]) -> None:
        stems = frozenset(key[: -len(SUFFIX)] for key in keys if key.endswith(SUFFIX))
        if not keys:
            self._wake.set()
        for stem in stems:
            self._index.add(stem)
        self._changed(stems)

    def _changed(self, stems: frozenset[str]) -> None:
        """Reload what is in memory, and tell the listeners about the rest at once."""
        self._resolver.forget_absent(stems)
        for stem in stems:
            if self._resolver.is_served(stem + SUFFIX):
                self.hurry(stem + SUFFIX)
        others = frozenset(s for s in stems if not self._resolver.is_served(s + SUFFIX))
        if others:
            self._resolver.tell(others)

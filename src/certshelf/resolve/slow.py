"""The slow lane: files that take long to open, off the handshake path, in child processes.

The library would hold the interpreter's lock while it opens them, and stop every other thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Condition, Thread

from certshelf.bundle import pfx
from certshelf.bundle.guarded import GuardedChild
from certshelf.bundle.inspect import read_facts
from certshelf.bundle.model import Bundle
from certshelf.errors import BundleError, PfxError
from certshelf.secret import Secret
from certshelf.shelf.files import Read

_MAX_WAITING = 10_000
_MAX_WORKERS = 4
_IDLE_SECONDS = 60.0

Job = Callable[[Read], object]
"""Opens one file, by what it is given to open it with."""


class SlowLane:
    """A few threads with a child process each: one with the first file, more when files wait.

    For the reader's own process, which never forks. surprises: jobs that raised, though each has
    its own walls.
    """

    def __init__(
        self,
        child: Callable[[], GuardedChild] = GuardedChild,
        workers: int = min(_MAX_WORKERS, os.cpu_count() or 1),
        idle_s: float = _IDLE_SECONDS,
    ) -> None:
        self.surprises = 0
        self._child = child
        self._max_workers = workers
        self._idle_s = idle_s
        self._jobs: dict[str, tuple[str, Job]] = {}
        self._running: dict[str, str] = {}
        self._children: set[GuardedChild] = set()
        self._is_closed = False
        self._changed = Condition()

    def __contains__(self, file: str) -> bool:
        return file in self._jobs or file in self._running

    def is_slow(self, data: bytes) -> bool:
        """Whether these bytes belong here. Bytes that are refused at sight do not."""
        try:
            return not read_facts(data).is_quick
        except BundleError:
            return False

    def put(self, file: str, version: str, job: Job) -> None:
        """Open this version of a file soon, instead of what waits for it; not when that is under
        way. A full lane forgets it: the next handshake comes again."""
        with self._changed:
            is_full = len(self._jobs) >= _MAX_WAITING and file not in self._jobs
            if self._is_closed or is_full or self._running.get(file) == version:
                return
            self._jobs[file] = (version, job)
            waiting = len(self._jobs) + len(self._running)
            if len(self._children) < min(waiting, self._max_workers):
                self._start()
            self._changed.notify_all()

    def wait(self, file: str, timeout_s: float) -> bool:
        """Wait until a file has left the lane; whether it was in it."""
        with self._changed:
            if file not in self:
                return False
            self._changed.wait_for(lambda: self._is_closed or file not in self, timeout_s)
            return True

    def close(self) -> None:
        """Stop; what waits is given up, what is being opened too."""
        with self._changed:
            self._is_closed = True
            self._jobs.clear()
            self._changed.notify_all()
            children = tuple(self._children)
        for child in children:
            child.close()

    def _start(self) -> None:
        child = self._child()
        self._children.add(child)
        try:
            Thread(target=self._work, args=(child,), name="certshelf-slow", daemon=True).start()
        except RuntimeError:  # no thread to be had now: what waits asks again at the next put
            self._children.discard(child)

    def _work(self, child: GuardedChild) -> None:
        """One file after the other, until none came for a while."""

        def read(data: bytes, password: Secret | None) -> Bundle:
            return self._read(child, data, password)

        while (taken := self._next(child)) is not None:
            file, job = taken
            try:
                job(read)
            except Exception:  # noqa: BLE001  the thread's outer wall
                self.surprises += 1
            with self._changed:
                del self._running[file]
                self._changed.notify_all()
        child.close()

    def _next(self, child: GuardedChild) -> tuple[str, Job] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or bool(self._free()), self._idle_s)
            file = self._free()
            if self._is_closed or not file:
                self._children.discard(child)
                return None
            version, job = self._jobs[file]
            self._running[file] = version  # first, so that it is always in one of the two
            del self._jobs[file]
            return file, job

    def _free(self) -> str:
        """A file that waits and that no other thread is opening an older version of; or ""."""
        return next((file for file in self._jobs if file not in self._running), "")

    def _read(self, child: GuardedChild, data: bytes, password: Secret | None) -> Bundle:
        """As pfx.decode(), in the child; here when none can be started."""
        try:
            return child.decode(data, password)
        except PfxError as error:
            if type(error) is not PfxError or self._is_closed:
                raise
            return pfx.decode(data, password)

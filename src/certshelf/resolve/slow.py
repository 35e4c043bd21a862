"""The slow lane: files that take long to open, one after the other, off the handshake path.

Each is opened in a child process, since the library would hold the interpreter's lock meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition, Thread

from certshelf.bundle import pfx
from certshelf.bundle.guarded import GuardedChild
from certshelf.bundle.inspect import read_facts
from certshelf.bundle.model import Bundle
from certshelf.errors import BundleError, PfxError
from certshelf.secret import Secret

_MAX_WAITING = 10_000

Job = Callable[[], object]


class SlowLane:
    """One thread, started with the first file. For the reader's own process, which never forks.

    surprises: jobs that raised, though each has its own walls.
    """

    def __init__(self, child: GuardedChild | None = None) -> None:
        self.surprises = 0
        self._child = child or GuardedChild()
        self._jobs: dict[str, tuple[str, Job]] = {}
        self._running = ("", "")
        self._is_closed = False
        self._changed = Condition()
        self._thread: Thread | None = None

    def __contains__(self, file: str) -> bool:
        return file in self._jobs or file == self._running[0]

    def is_slow(self, data: bytes) -> bool:
        """Whether these bytes belong here. Bytes that are refused at sight do not."""
        try:
            return not read_facts(data).is_quick
        except BundleError:
            return False

    def decode(self, data: bytes, password: Secret | None) -> Bundle:
        """As pfx.decode(), in the child; here when none can be started."""
        try:
            return self._child.decode(data, password)
        except PfxError as error:
            if type(error) is not PfxError or self._is_closed:
                raise
            return pfx.decode(data, password)

    def put(self, file: str, version: str, job: Job) -> None:
        """Open this version of a file soon, instead of what waits for it; not when that is under
        way. A full lane forgets it: the next handshake comes again."""
        with self._changed:
            is_full = len(self._jobs) >= _MAX_WAITING and file not in self._jobs
            if self._is_closed or is_full or self._running == (file, version):
                return
            self._jobs[file] = (version, job)
            if self._thread is None:
                self._thread = Thread(target=self._run, name="certshelf-slow", daemon=True)
                self._thread.start()
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
        self._child.close()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                job()
            except Exception:  # noqa: BLE001  the thread's outer wall
                self.surprises += 1

    def _next(self) -> Job | None:
        with self._changed:
            self._running = ("", "")
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_closed or bool(self._jobs))
            if self._is_closed:
                return None
            file = next(iter(self._jobs))
            version, job = self._jobs.pop(file)
            self._running = (file, version)
            return job

"""A follower of the mirror that does one thing for many changes: at most once per pause."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

from certshelf.clock import Clock
from certshelf.serve.changes import ChangeQueue
from certshelf.serve.log import ReaderLog

_LOOK_SECONDS = 1.0


class Batched:
    """Calls `act` in a thread of its own soon after a change, never twice within pause_s.

    act: returns whether it worked; it is called again after the pause when it did not. kind: in the
    log.
    """

    def __init__(
        self, act: Callable[[], bool], pause_s: float, clock: Clock, log: ReaderLog, kind: str
    ) -> None:
        self._act = act
        self._log = log
        self._kind = kind
        self._pause_s = pause_s
        self._clock = clock
        self._queue = ChangeQueue()
        self._due = False
        self._thread = Thread(target=self._run, name="certshelf-batched", daemon=True)

    def changed(self, names: frozenset[str]) -> None:
        """The mirror's follower."""
        self._queue.put(names)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def close(self) -> None:
        """Stop; a change that waits is left to the next start."""
        self._queue.close()
        if self._thread.is_alive():
            self._thread.join(10.0)

    def _run(self) -> None:
        last = self._clock.monotonic() - self._pause_s
        while not self._queue.closed:
            self._due |= self._queue.take(min(_LOOK_SECONDS, self._pause_s)) is not None
            if self._due and self._clock.monotonic() - last >= self._pause_s:
                self._due = not self._survived()
                last = self._clock.monotonic()

    def _survived(self) -> bool:
        """The thread's outer wall: an error that nobody foresaw is one failure."""
        try:
            return self._act()
        except Exception as error:  # noqa: BLE001
            self._log.event(f"{self._kind}-failed", reason=f"unforeseen {type(error).__name__}")
            return False

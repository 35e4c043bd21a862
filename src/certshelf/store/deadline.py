"""Calls that may hang for ever, made to end at a deadline.

A system call on a dead share cannot be stopped. It is left behind in its thread, and only so many
may be left behind: then each call fails at once until one of them comes back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Condition, Event, Thread
from typing import Generic, TypeVar

from certshelf.errors import StoreBusy, StoreTimeout
from certshelf.store.base import DEADLINE_SECONDS

T = TypeVar("T")
MAX_ABANDONED = 8


class _Job(Generic[T]):
    """One call, its outcome, and whether its caller still waits."""

    def __init__(self, call: Callable[[], T]) -> None:
        self.call = call
        self.done = Event()
        self.abandoned = False
        self.result: T | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self.call()
        except BaseException as error:  # noqa: BLE001  # handed over to the caller's thread
            self.error = error


class Deadline:
    """Runs calls in a few daemon threads that are used again and again.

    seconds: how long a caller waits, for a free thread and for the answer together.
    max_abandoned: how many threads there are at most, so how many calls may hang.
    """

    def __init__(
        self, seconds: float = DEADLINE_SECONDS, max_abandoned: int = MAX_ABANDONED
    ) -> None:
        self.seconds = seconds
        self._max = max_abandoned
        self._free: list[SimpleQueue[_Job[object] | None]] = []
        self._threads = 0
        self._abandoned = 0
        self._closed = False
        self._changed = Condition()

    @property
    def abandoned(self) -> int:
        """How many calls hang with nobody waiting for them any more."""
        return self._abandoned

    def call(self, call: Callable[[], T], what: str) -> T:
        """The result of call(), or what it raised, or StoreTimeout at the deadline.

        what: what is tried, on what, for the message. StoreBusy at once when as many calls hang
        as may hang. A call that was given up may still take effect later.
        """
        end = time.monotonic() + self.seconds
        worker = self._worker(what, end)
        job = _Job(call)
        worker.put(job)  # type: ignore[arg-type]  # a queue of jobs of any type
        if not job.done.wait(max(0.0, end - time.monotonic())) and self._give_up(job):
            raise _too_late(what, self.seconds)
        if job.error is not None:
            raise job.error
        return job.result  # type: ignore[return-value]

    def close(self) -> None:
        """Let the threads end as soon as they are free."""
        with self._changed:
            self._closed = True
            for worker in self._free:
                worker.put(None)
            self._free.clear()

    def _worker(self, what: str, end: float) -> SimpleQueue[_Job[object] | None]:
        with self._changed:
            while not self._free:
                if self._abandoned >= self._max:
                    raise StoreBusy(
                        f"{what}: {self._abandoned} earlier calls hang",
                        hint="check the mount and the file server; what is served stays served",
                    )
                if self._threads < self._max:
                    return self._start()
                if not self._changed.wait(max(0.0, end - time.monotonic())):
                    raise _too_late(what, self.seconds)
            return self._free.pop()

    def _start(self) -> SimpleQueue[_Job[object] | None]:
        jobs: SimpleQueue[_Job[object] | None] = SimpleQueue()
        Thread(target=self._work, args=(jobs,), name="certshelf-store", daemon=True).start()
        self._threads += 1
        return jobs

    def _work(self, jobs: SimpleQueue[_Job[object] | None]) -> None:
        while (job := jobs.get()) is not None:
            job.run()
            with self._changed:
                job.done.set()
                self._abandoned -= job.abandoned
                if self._closed:
                    return
                self._free.append(jobs)
                self._changed.notify()
            del job  # the result is the caller's now

    def _give_up(self, job: _Job[T]) -> bool:
        """Whether the caller leaves; False when the answer came in the last moment."""
        with self._changed:
            if job.done.is_set():
                return False
            job.abandoned = True
            self._abandoned += 1
            self._changed.notify_all()
            return True


def _too_late(what: str, seconds: float) -> StoreTimeout:
    return StoreTimeout(
        f"{what}: no answer within {seconds:g} s",
        hint="check the mount and the file server; what is served stays served",
    )

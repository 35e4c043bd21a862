"""How certshelf's own writers keep out of one another's way in one folder.

The lock is advisory and dies with its holder. Other programs do not know it: against those only
the look right before the rename helps.
"""

from __future__ import annotations

import errno
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from certshelf.clock import Clock
from certshelf.errors import StoreBusy
from certshelf.store.base import lock_of
from certshelf.store.directory import Directory

_HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_UNABLE = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)  # the file system has no locks
_random = random.SystemRandom()


class WritersLock:
    """Held while one writer compares and replaces one file: in this process and among processes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._here: dict[str, Lock] = {}

    @contextmanager
    def held(self, root: Directory, key: str, until: float) -> Iterator[None]:
        """Hold the lock of a key of the shelf in root; StoreBusy when it is not free by `until`.

        until: a moment of the clock's monotonic().
        """
        lock = lock_of(key)
        here = self._here.setdefault(lock, Lock())
        if not here.acquire(timeout=max(0.0, until - self._clock.monotonic())):
            raise _busy(root, lock)
        try:
            hidden, folder, name = lock.split("/")
            with (
                root.child(hidden, create=True) as shelf,
                shelf.child(folder, create=True) as locks,
            ):
                fd = locks.open_lock(name)
            try:
                if not wait_for(lambda: _take(fd), self._clock, until):
                    raise _busy(root, lock)
                yield
            finally:
                os.close(fd)  # this gives the lock back
        finally:
            here.release()


def wait_for(attempt: Callable[[], bool], clock: Clock, until: float) -> bool:
    """Try until it works or time is up, with pauses of 1 ms growing to 250 ms, jittered."""
    pause = 0.001
    while not attempt():
        left = until - clock.monotonic()
        if left <= 0:
            return False
        clock.sleep(min(left, pause * _random.uniform(0.5, 1.5)))
        pause = min(pause * 2, 0.25)
    return True


def _take(fd: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        if error.errno not in _UNABLE:
            raise
    return True


def _busy(root: Directory, lock: str) -> StoreBusy:
    return StoreBusy(
        f"cannot write in {root.path}: another writer holds {lock}",
        hint="wait for the other certshelf to end, or look who it is with `fuser -v` on that file",
    )

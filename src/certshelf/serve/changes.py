"""A queue of changed host names that folds what waits: a slow taker sees each name once."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Condition

MAX_WAITING = 10_000
"""More changed names than this are one "look at all"."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed since the last take. everything: look at all names; names is empty then."""

    everything: bool
    names: frozenset[str]


class ChangeQueue:
    """One taker, many givers, each in its own thread. `put` never waits for the taker."""

    def __init__(self) -> None:
        self._ready = Condition()
        self._names: set[str] = set()
        self._everything = False
        self._closed = False

    def put(self, names: frozenset[str]) -> None:
        """Add changed names (A-labels); an empty set means "look at all"."""
        with self._ready:
            self._names |= names
            if not names or len(self._names) > MAX_WAITING:
                self._everything = True
                self._names.clear()
            self._ready.notify()

    def take(self, timeout_s: float) -> Changes | None:
        """All that waits, or None when nothing came in time or the queue was closed."""
        with self._ready:
            self._ready.wait_for(self._is_due, timeout_s)
            if self._closed or not (self._everything or self._names):
                return None
            names = frozenset() if self._everything else frozenset(self._names)
            changes = Changes(self._everything, names)
            self._everything = False
            self._names.clear()
            return changes

    def close(self) -> None:
        """Wake the taker for the last time."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closed

    def _is_due(self) -> bool:
        return self._closed or self._everything or bool(self._names)

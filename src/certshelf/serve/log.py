"""The reader's own log: one JSON object a line, and a line for every key that is handed out."""

from __future__ import annotations

import json
from threading import Lock
from typing import TextIO

from certshelf.bundle.model import Bundle
from certshelf.clock import Clock, iso

LINES_PER_SECOND = 20
"""Of key hand-outs, and of refusals: clients decide how many there are."""


class ReaderLog:
    """Writes lines that no client can forge: JSON escapes every control character.

    Safe from several threads. Never raises because the stream is gone: serving goes on.
    """

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock
        self._lock = Lock()
        self._handouts = _Rate(clock)
        self._refusals = _Rate(clock)

    def event(self, event: str, **fields: str | int | float | bool) -> None:
        """One line: time, event, and the fields."""
        record = {"time": iso(self._clock.now()), "event": event, **fields}
        line = json.dumps(record, ensure_ascii=True)
        with self._lock:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                return

    def handout(self, server: str, name: str, bundle: Bundle, peer: str = "") -> None:
        """Say that a private key left this process; at most LINES_PER_SECOND lines a second.

        server: the kind of adapter. name: what was asked for. peer: who asked, as the kernel says.
        The next line that is written counts those that were left out.
        """
        suppressed = self._handouts.take()
        if suppressed is not None:
            self.event(
                "key-handed-out",
                server=server,
                name=name[:255],
                peer=peer,
                thumbprint_sha256=bundle.sha256,
                suppressed=suppressed,
            )

    def refused(self, server: str, peer: str) -> None:
        """Say that somebody knocked who may not ask; as often as hand-outs, counted alike."""
        suppressed = self._refusals.take()
        if suppressed is not None:
            self.event("refused", server=server, peer=peer, suppressed=suppressed)


class _Rate:
    """So many a second, and how many were left out."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._tokens = float(LINES_PER_SECOND)
        self._refilled = clock.monotonic()
        self._suppressed = 0

    def take(self) -> int | None:
        """How many were left out before this one; None when this one is left out."""
        with self._lock:
            now = self._clock.monotonic()
            refill = (now - self._refilled) * LINES_PER_SECOND
            self._tokens = min(float(LINES_PER_SECOND), self._tokens + refill)
            self._refilled = now
            if self._tokens < 1.0:
                self._suppressed += 1
                return None
            self._tokens -= 1.0
            suppressed, self._suppressed = self._suppressed, 0
            return suppressed

"""Who advances which certificate: a small protocol, and the one for a single process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

Advance = Callable[[str], Awaitable[None]]
"""Advance a certificate until it is done or must wait; never raises but when it is cancelled."""
AT_ONCE = 128
"""Certificates that one process advances at a time; each issuer has a limit of its own below."""


class HandOut(Protocol):
    """Gives each certificate to one worker at a time. Giving twice is safe."""

    async def give(self, names: Iterable[str]) -> None:
        """See that somebody advances these soon; a name that waits or is advanced is left alone."""
        ...

    async def work(self, advance: Advance, stop: asyncio.Event) -> None:
        """Advance what is handed out until stop is set, then wait for what is under way."""
        ...


class InProcess:
    """All work is done by this process: a queue in memory, lost without harm at a crash.

    The next tick finds in the records what was lost.
    """

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._known: set[str] = set()
        self._at_once = at_once

    async def give(self, names: Iterable[str]) -> None:
        """See HandOut."""
        for name in names:
            if name not in self._known:
                self._known.add(name)
                self._queue.put_nowait(name)

    async def work(self, advance: Advance, stop: asyncio.Event) -> None:
        """See HandOut."""
        workers = [asyncio.create_task(self._work(advance, stop)) for _ in range(self._at_once)]
        await stop.wait()
        for _ in workers:
            self._queue.put_nowait("")  # wakes one that waits
        await asyncio.gather(*workers)

    async def _work(self, advance: Advance, stop: asyncio.Event) -> None:
        while not stop.is_set():
            name = await self._queue.get()
            if stop.is_set():
                return
            try:
                await advance(name)
            finally:
                self._known.discard(name)

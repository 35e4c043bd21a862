"""Who advances which certificate: a small protocol, and the one for a single process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

from certshelf.manage.accounts import IN_FLIGHT

Advance = Callable[[str], Awaitable[None]]
"""Advance a certificate until it is done or must wait; never raises but when it is cancelled."""
Lanes = Callable[[Sequence[str]], Awaitable[Mapping[str, str]]]
"""Which lane each certificate goes in: the name of its issuer."""
AT_ONCE = 128
"""Certificates that one of several managers advances at a time."""


class HandOut(Protocol):
    """Gives each certificate to one worker at a time. Giving twice is safe."""

    async def give(self, names: Iterable[str]) -> None:
        """See that somebody advances these soon; a name that waits or is advanced is left alone."""
        ...

    async def work(self, advance: Advance, stop: asyncio.Event) -> None:
        """Advance what is handed out until stop is set, then wait for what is under way."""
        ...


class InProcess:
    """All work is done by this process: queues in memory, lost without harm at a crash.

    The next tick finds in the records what was lost. Each lane has its own queue and workers, so
    that a CA that is slow or hangs keeps no certificate of another one waiting.
    """

    def __init__(self, lanes: Lanes, at_once: int = IN_FLIGHT) -> None:
        """at_once: certificates that are advanced at a time in each lane."""
        self._lanes = lanes
        self._at_once = at_once
        self._queues: dict[str, asyncio.Queue[str]] = {}
        self._known: set[str] = set()
        self._start: Callable[[asyncio.Queue[str]], None] = lambda queue: None

    async def give(self, names: Iterable[str]) -> None:
        """See HandOut."""
        new = [name for name in dict.fromkeys(names) if name not in self._known]
        lanes = await self._lanes(new) if new else {}
        for name in new:
            self._known.add(name)
            lane = lanes.get(name, "")
            if lane not in self._queues:
                self._queues[lane] = asyncio.Queue()
                self._start(self._queues[lane])
            self._queues[lane].put_nowait(name)

    async def work(self, advance: Advance, stop: asyncio.Event) -> None:
        """See HandOut."""
        workers: list[asyncio.Task[None]] = []

        def start(queue: asyncio.Queue[str]) -> None:
            workers.extend(
                asyncio.create_task(self._work(queue, advance, stop)) for _ in range(self._at_once)
            )

        self._start = start
        for queue in self._queues.values():
            start(queue)
        await stop.wait()
        for queue in self._queues.values():
            for _ in range(self._at_once):
                queue.put_nowait("")  # wakes one that waits
        await asyncio.gather(*workers)

    async def _work(self, queue: asyncio.Queue[str], advance: Advance, stop: asyncio.Event) -> None:
        while not stop.is_set():
            name = await queue.get()
            if stop.is_set():
                return
            try:
                await advance(name)
            finally:
                self._known.discard(name)

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from certshelf.manage.service.handout import InProcess


async def _lanes(names: Sequence[str]) -> Mapping[str, str]:
    return {name: name[0] for name in names}


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


def test_a_ca_that_hangs_keeps_no_certificate_of_another_waiting() -> None:
    async def story() -> None:
        stop, mended = asyncio.Event(), asyncio.Event()
        done: list[str] = []

        async def advance(name: str) -> None:
            if name.startswith("a"):
                await mended.wait()
            done.append(name)

        hand_out = InProcess(_lanes, at_once=4)
        await hand_out.give([f"a{i}" for i in range(500)])
        working = asyncio.create_task(hand_out.work(advance, stop))
        await hand_out.give([f"b{i}" for i in range(20)])
        await _until(lambda: len(done) == 20)
        assert all(name.startswith("b") for name in done)
        mended.set()
        await _until(lambda: len(done) == 520)
        stop.set()
        await working

    asyncio.run(story())


def test_a_name_that_waits_or_is_advanced_is_not_taken_twice() -> None:
    async def story() -> None:
        stop, go = asyncio.Event(), asyncio.Event()
        begun: list[str] = []

        async def advance(name: str) -> None:
            begun.append(name)
            await go.wait()

        hand_out = InProcess(_lanes, at_once=1)
        working = asyncio.create_task(hand_out.work(advance, stop))
        for _ in range(3):
            await hand_out.give(["a1", "a2", "a1"])
        await _until(lambda: begun == ["a1"])
        await hand_out.give(["a1", "a2"])
        go.set()
        await _until(lambda: begun == ["a1", "a2"])
        await hand_out.give(["a1"])
        await _until(lambda: begun == ["a1", "a2", "a1"])
        stop.set()
        await working

    asyncio.run(story())


def test_stopping_ends_every_lane_also_those_that_wait() -> None:
    async def story() -> None:
        stop = asyncio.Event()

        async def advance(name: str) -> None: ...

        hand_out = InProcess(_lanes)
        working = asyncio.create_task(hand_out.work(advance, stop))
        await hand_out.give(["a1", "b1"])
        await asyncio.sleep(0)
        stop.set()
        await asyncio.wait_for(working, 30)

    asyncio.run(story())

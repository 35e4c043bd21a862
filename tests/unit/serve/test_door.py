"""Who comes in through a door: strangers make room for each other, guests stay."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable

import pytest

from certshelf.serve import door as module
from certshelf.serve.door import Door, Visitor

GREETING, LONG = b"let me in", b"x" * 50_000_000
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Greeter(Visitor):
    """Admits who greets, echoes what is said, and speaks at length when asked to."""

    def received(self, data: bytes) -> None:
        if data == GREETING and not self.door.admit(self):
            self.close()
        elif data == b"long":
            self.send(LONG)
        else:
            self.send(data)


class NoDescriptor(socket.socket):
    """A listener whose first accept finds no descriptor left."""

    has_failed = False

    def accept(self) -> tuple[socket.socket, object]:
        if not self.has_failed:
            self.has_failed = True
            raise OSError(errno.EMFILE, "too many open files")
        return super().accept()


def at_the_door(
    story: Callable[[Door, int], Awaitable[None]], kind: type[socket.socket] = socket.socket
) -> None:
    async def whole() -> None:
        listener = kind(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        listener.setblocking(False)
        port = listener.getsockname()[1]
        door = Door(listener, Greeter)
        try:
            await asyncio.wait_for(story(door, port), 60)
        finally:
            await door.close()

    asyncio.run(whole())


async def come(port: int) -> Connection:
    return await asyncio.open_connection("127.0.0.1", port, limit=2 * len(LONG))


async def say(connection: Connection, word: bytes) -> bytes:
    reader, writer = connection
    writer.write(word)
    return await reader.readexactly(len(word))


async def is_cut_off(connection: Connection) -> bool:
    try:
        return await connection[0].read() == b""
    except ConnectionError:
        return True


def test_strangers_make_room_for_each_other_and_a_guest_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_STRANGERS", 3)

    async def story(_: Door, port: int) -> None:
        guest = await come(port)
        assert await say(guest, GREETING) == GREETING
        strangers = [await come(port) for _ in range(3)]
        for number, stranger in enumerate(strangers):
            assert await say(stranger, b"%d" % number) == b"%d" % number
        late = await come(port)
        assert await say(late, GREETING) == GREETING
        assert await is_cut_off(strangers[0])
        for known in (guest, late, *strangers[1:]):
            assert await say(known, b"still here") == b"still here"

    at_the_door(story)


def test_a_stranger_that_never_shows_who_it_is_is_cut_off_and_a_guest_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_SWEEP_SECONDS", 0.02)

    async def story(_: Door, port: int) -> None:
        guest = await come(port)
        assert await say(guest, GREETING) == GREETING
        monkeypatch.setattr(module, "STRANGER_SECONDS", 0.05)
        assert await is_cut_off(await come(port))
        assert await say(guest, b"still here") == b"still here"

    at_the_door(story)


def test_a_guest_that_does_not_take_its_answer_is_cut_off_and_read_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr(module, "_SWEEP_SECONDS", 0.02)

    async def story(_: Door, port: int) -> None:
        _, writer = guest = await come(port)
        assert await say(guest, GREETING) == GREETING
        writer.transport.pause_reading()
        writer.write(b"long")
        other = await come(port)  # the loop is not held up meanwhile
        assert await say(other, b"hello") == b"hello"
        writer.write(b"more" * 10_000_000)  # nobody reads it: it does not fit into the sockets
        with pytest.raises(ConnectionError):
            await writer.drain()

    at_the_door(story)


def test_a_long_answer_arrives_whole_also_when_the_door_closes() -> None:
    async def story(door: Door, port: int) -> None:
        reader, writer = guest = await come(port)
        assert await say(guest, GREETING) == GREETING
        writer.write(b"long")
        first = await reader.readexactly(1)
        closing = asyncio.create_task(door.close())
        assert first + await reader.read() == LONG
        await closing

    at_the_door(story)


def test_more_guests_than_there_are_places_for_are_sent_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_GUESTS", 1)

    async def story(_: Door, port: int) -> None:
        guest = await come(port)
        assert await say(guest, GREETING) == GREETING
        other = await come(port)
        other[1].write(GREETING)
        assert await is_cut_off(other)
        guest[1].close()
        while True:
            other = await come(port)
            other[1].write(GREETING)
            if await other[0].read(len(GREETING)):
                return

    at_the_door(story)


def test_who_comes_while_no_descriptor_is_left_is_let_in_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_SWEEP_SECONDS", 0.02)

    async def story(_: Door, port: int) -> None:
        assert await say(await come(port), b"hello") == b"hello"

    at_the_door(story, NoDescriptor)

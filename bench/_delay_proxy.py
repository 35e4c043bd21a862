"""A TCP proxy on loopback that holds everything back for a while, as a network does.

    python bench/_delay_proxy.py PORT SECONDS

Prints the port that it listens on; ends when its standard input does. It uses callbacks, not
streams: what it costs competes with what is measured.
"""

from __future__ import annotations

import asyncio
import sys


class Pipe(asyncio.Protocol):
    """One end of a connection; what arrives here is written to the other end after the delay."""

    def __init__(self, delay: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.delay = delay
        self.here: asyncio.Transport
        self.other: asyncio.Future[asyncio.Transport] = self.loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.here = transport

    def data_received(self, data: bytes) -> None:
        self.loop.call_later(self.delay, self.other.result().write, data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other.done():
            self.loop.call_later(self.delay, self.other.result().close)


class Entrance(Pipe):
    """The end that a client connects to."""

    def __init__(self, port: int, delay: float) -> None:
        super().__init__(delay)
        self.port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.here.pause_reading()
        self.joining = self.loop.create_task(self.join())

    async def join(self) -> None:
        """Open the way on."""
        there = Pipe(self.delay)
        there.other.set_result(self.here)
        onward, _ = await self.loop.create_connection(lambda: there, "127.0.0.1", self.port)
        self.other.set_result(onward)
        self.here.resume_reading()


async def main(port: int, delay: float) -> None:
    """Serve until stdin ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Entrance(port, delay), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))

"""How long the doctor needs to ask members for 10,000 names, and how that grows with those at once.

Run: python bench/served_check.py [NUMBER]. Servers run in processes of their own on loopback, so
the figures hold both sides' work; they are printed as ratios to the first row.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.certificates import bundle
from tests.support.tls_server import server_context

from certshelf.doctor.handshake import ask_all
from certshelf.doctor.served import Target
from certshelf.farm import Kind
from certshelf.names import HostName

SERVERS = 2


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    ports: multiprocessing.Queue[int] = multiprocessing.Queue()
    servers = [multiprocessing.Process(target=serve, args=(ports,)) for _ in range(SERVERS)]
    for server in servers:
        server.start()
    try:
        listening = [ports.get(timeout=30) for _ in servers]
        first = 0.0
        for at_once in (1, 20, 200):
            few = number if at_once == 200 else number // 10
            seconds, good = asyncio.run(run(listening, few, at_once))
            rate = few / seconds
            first = first or rate
            print(
                f"at once {at_once:>4}: {good}/{few} certificates, {rate / first:.2f} times the "
                f"rate of one at a time; {number} names take {number / rate:.1f} s"
            )
    finally:
        for server in servers:
            server.terminate()
            server.join()


async def run(ports: list[int], number: int, at_once: int) -> tuple[float, int]:
    targets = [
        Target(
            "m", Kind.NGINX, "127.0.0.1", ports[n % len(ports)], HostName.parse(f"h{n}.example.com")
        )
        for n in range(number)
    ]
    begin = time.perf_counter()
    good = 0
    async for seen in ask_all(targets, at_once=at_once, timeout_seconds=10):
        good += bool(seen.sha256)
    return time.perf_counter() - begin, good


def serve(ports: multiprocessing.Queue[int]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):  # the asker hangs up once it has seen enough
            await reader.read(1)
        writer.close()

    async def forever() -> None:
        with tempfile.TemporaryDirectory() as folder:
            context = server_context(bundle("*.example.com"), Path(folder))
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context, backlog=1024)
        ports.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(forever())


if __name__ == "__main__":
    main()

"""Who asks learns nothing of names that are not his: unknown and refused are answered alike."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

from tests.support.small_ca import SmallCa

from certshelf.clock import SYSTEM
from certshelf.opening import open_shelf
from certshelf.resolve.resolver import Resolver
from certshelf.secret import Secret, generate_password
from certshelf.serve.http import PemEndpoint
from certshelf.serve.live import LiveSource
from certshelf.serve.log import ReaderLog
from certshelf.serve.pems import PemCache

PATH, WRONG = "s" * 32, "w" * 32
REFUSED = (
    "other.test",  # on the shelf, but not in this reader's scope
    "nobody.test",  # on no shelf
    "..%2f..%2fmine.test",
    "%00",
    "mine.test.pfx",
    "MINE~1",
)


def test_unknown_refused_and_hostile_names_get_the_same_bytes(tmp_path: Path) -> None:
    shelf = open_shelf(tmp_path, password=generate_password(), owner="tests")
    for name in ("mine.test", "other.test"):
        shelf.publish(SmallCa().issue(name))
    resolver = Resolver(shelf, allow=lambda host: host.ascii == "mine.test").start()
    assert resolver.wait_ready(20)
    try:
        answers = asyncio.run(ask_all(LiveSource(resolver)))
    finally:
        resolver.close()
    assert b"PRIVATE KEY" in answers.pop(f"/{PATH}/cert?server_name=mine.test")
    assert len(answers) == 2 * len(REFUSED) + 2
    assert set(answers.values()) == {b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"}


async def ask_all(source: LiveSource) -> dict[str, bytes]:
    """Each target's answer: the good name, and the others below the right path and a wrong one."""
    endpoint = PemEndpoint(source, PemCache(), ReaderLog(io.StringIO(), SYSTEM))
    port = await endpoint.listen_tcp("127.0.0.1", 0, Secret(PATH))
    names = ("mine.test", *REFUSED)
    targets = [
        f"/{secret}/cert?server_name={name}" for secret in (PATH, "w" * 32) for name in names
    ]
    answers = {}
    try:
        for target in [*targets, "/"]:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {target} HTTP/1.1\r\n\r\n".encode())
            writer.write_eof()
            answers[target] = await asyncio.wait_for(reader.read(), 10)
            writer.close()
    finally:
        await endpoint.close()
    return answers

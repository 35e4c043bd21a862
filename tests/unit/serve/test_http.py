"""The HTTP endpoint: answers, refusals and hostile requests, over real sockets of loopback."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.small_ca import SmallCa
from tests.support.source import FakeSource

from certshelf.clock import SYSTEM
from certshelf.errors import ConfigError
from certshelf.secret import Secret
from certshelf.serve.http import PemEndpoint
from certshelf.serve.log import ReaderLog
from certshelf.serve.pems import PemCache

PATH = "s" * 32
BUNDLE = SmallCa().issue("www.one.test")
Ask = Callable[[bytes], Coroutine[Any, Any, bytes]]


@asynccontextmanager
async def endpoint(source: FakeSource, log: io.StringIO) -> AsyncIterator[Ask]:
    server = PemEndpoint(source, PemCache(), ReaderLog(log, SYSTEM))
    port = await server.listen_tcp("127.0.0.1", 0, Secret(PATH))

    async def ask(request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer

    try:
        yield ask
    finally:
        await server.close()


def answers(*requests: bytes, is_ready: bool = True) -> list[bytes]:
    source = FakeSource(is_ready=is_ready)
    source.index.add("loading.test.pfx")
    source.put("www.one.test", BUNDLE)
    log = io.StringIO()

    async def run() -> list[bytes]:
        async with endpoint(source, log) as ask:
            return [await ask(request) for request in requests]

    found = asyncio.run(run())
    assert PATH not in log.getvalue()
    return found


def get(target: str, *headers: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", "Host: x", "Connection: close", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def test_a_known_name_gets_key_leaf_and_chain() -> None:
    (answer,) = answers(get(f"/{PATH}/cert?server_name=www.one.test"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == BUNDLE.to_pem()


@pytest.mark.parametrize(
    "target",
    [
        f"/{PATH}/cert?server_name=unknown.test",
        f"/{PATH}/cert?server_name=..%2Fwww.one.test",
        f"/{PATH}/cert?server_name=",
        f"/{PATH}/cert",
        f"/{PATH}/other?server_name=www.one.test",
        "/cert?server_name=www.one.test",
        f"/{'x' * 32}/cert?server_name=www.one.test",
        "/",
    ],
)
def test_a_miss_is_404_and_never_204(target: str) -> None:
    (answer,) = answers(get(target))
    assert answer.startswith(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n")


def test_what_may_lie_on_the_shelf_is_never_called_a_miss() -> None:
    (answer,) = answers(get(f"/{PATH}/cert?server_name=loading.test"))
    assert answer.startswith(b"HTTP/1.1 503 ")
    (answer,) = answers(get(f"/{PATH}/cert?server_name=unknown.test"), is_ready=False)
    assert answer.startswith(b"HTTP/1.1 503 ")


def test_a_name_that_is_being_loaded_is_awaited() -> None:
    source = FakeSource(index={"www.one.test.pfx"}, arriving={"www.one.test.pfx"})

    async def run() -> bytes:
        async with endpoint(source, io.StringIO()) as ask:
            asking = asyncio.create_task(ask(get(f"/{PATH}/cert?server_name=www.one.test")))
            await asyncio.sleep(0)
            source.put("www.one.test", BUNDLE)
            source.arriving.clear()
            return await asking

    assert asyncio.run(run()).endswith(BUNDLE.to_pem())


def test_a_fault_while_a_name_is_awaited_leaves_no_client_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = FakeSource(index={"www.one.test.pfx"}, arriving={"www.one.test.pfx"})

    def broken(self: PemCache, bundle: object) -> None:
        raise RuntimeError("a fault of ours")

    async def run() -> bytes:
        async with endpoint(source, io.StringIO()) as ask:
            asking = asyncio.create_task(ask(get(f"/{PATH}/cert?server_name=www.one.test")))
            await asyncio.sleep(0)
            source.put("www.one.test", BUNDLE)
            try:
                return await asking
            except ConnectionResetError:
                return b""

    monkeypatch.setattr(PemCache, "of", broken)
    assert asyncio.run(run()) == b""


def test_an_unchanged_certificate_is_not_sent_again() -> None:
    target = f"/{PATH}/cert?server_name=www.one.test"
    (answer,) = answers(get(target, f'If-None-Match: "{BUNDLE.sha256}"'))
    assert answer.startswith(b"HTTP/1.1 304 Not Modified\r\n")
    assert b"PRIVATE" not in answer


def test_health_needs_no_secret_and_shows_none() -> None:
    (answer,) = answers(get("/healthz"))
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"ok\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\n\r\n", b"405"),
        (b"GET / HTTP/2\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\nhello", b"400"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (f"GET /{PATH}/cert?server_name=\xff HTTP/1.1\r\n\r\n".encode("latin-1"), b"400"),
    ],
)
def test_what_is_no_request_of_ours_ends_the_connection(request_: bytes, status: bytes) -> None:
    (answer,) = answers(request_)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"Connection: close" in answer


def test_two_requests_share_a_connection() -> None:
    one = get(f"/{PATH}/cert?server_name=www.one.test").replace(b"Connection: close\r\n", b"")
    (answer,) = answers(one + get("/healthz"))
    assert answer.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])
def test_keys_are_handed_out_on_loopback_only(host: str) -> None:
    server = PemEndpoint(FakeSource(), PemCache(), ReaderLog(io.StringIO(), SYSTEM))
    with pytest.raises(ConfigError, match="only on loopback"):
        asyncio.run(server.listen_tcp(host, 0, Secret(PATH)))


def test_a_client_that_reads_slowly_gets_every_answer() -> None:
    source = FakeSource()
    source.put("www.one.test", BUNDLE)
    asked = 20_000
    request = f"GET /{PATH}/cert?server_name=www.one.test HTTP/1.1\r\n\r\n".encode()

    async def run() -> int:
        server = PemEndpoint(source, PemCache(), ReaderLog(io.StringIO(), SYSTEM))
        port = await server.listen_tcp("127.0.0.1", 0, Secret(PATH))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request * asked)
        writer.write_eof()
        got = 0
        while data := await asyncio.wait_for(reader.read(65536), 30):
            got += data.count(b"-----BEGIN PRIVATE KEY-----")
        await server.close()
        return got

    assert asyncio.run(run()) > asked * 0.99  # a mark may lie across two reads

"""The reader answers http-01 by itself, and echoes nothing but a well-formed token."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from certshelf.errors import ConfigError
from certshelf.serve import challenges
from certshelf.serve.challenges import ChallengeEndpoint, answer
from certshelf.serve.reader_settings import read_settings

THUMBPRINT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
PATH = "/.well-known/acme-challenge/"


def served(story: Callable[[int], Awaitable[None]]) -> None:
    async def whole() -> None:
        endpoint = ChallengeEndpoint(THUMBPRINT)
        port = await endpoint.listen("127.0.0.1", 0)
        try:
            await story(port)
        finally:
            await endpoint.close()

    asyncio.run(whole())


async def ask(port: int, *parts: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0.01)
    data = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return data


def test_a_token_is_answered_with_the_thumbprint_also_in_pieces() -> None:
    async def story(port: int) -> None:
        whole = f"GET {PATH}{TOKEN} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode()
        for parts in ((whole,), (whole[:30], whole[30:70], whole[70:])):
            head, _, body = (await ask(port, *parts)).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert b"text/plain" in head
            assert b"nosniff" in head
            assert body == f"{TOKEN}.{THUMBPRINT}".encode()

    served(story)


@pytest.mark.parametrize(
    "target",
    [
        PATH,
        PATH + "x" * 19,
        PATH + "x" * 129,
        PATH + TOKEN + "/",
        PATH + TOKEN + "?a=b",
        PATH + TOKEN + "%0d%0aSet-Cookie:%20a=b",
        PATH + "<script>alert(1)</script>aaaaaaaaaaaa",
        "/",
        "/cert?server_name=a.test",
        "http://a.test" + PATH + TOKEN,
    ],
)
def test_whatever_else_is_asked_is_not_found_and_not_echoed(target: str) -> None:
    said = answer(f"GET {target} HTTP/1.1\r\n\r\n".encode(), THUMBPRINT)
    assert said.startswith(b"HTTP/1.1 404 ")
    assert said.endswith(b"\r\n\r\nno such challenge\n")


@pytest.mark.parametrize(
    "head", [b"", b"GET", b"POST / HTTP/1.1", b"\xff\x00 / HTTP/1.1", b"GET  /"]
)
def test_what_is_no_request_is_not_found(head: bytes) -> None:
    assert answer(head + b"\r\n\r\n", THUMBPRINT).startswith(b"HTTP/1.1 404 ")


def test_head_is_told_all_but_the_body() -> None:
    said = answer(f"HEAD {PATH}{TOKEN} HTTP/1.1\r\n\r\n".encode(), THUMBPRINT)
    assert said.startswith(b"HTTP/1.1 200 ")
    assert said.endswith(b"\r\n\r\n")


def test_a_head_without_end_is_cut_off() -> None:
    async def story(port: int) -> None:
        try:
            said = await ask(port, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000)
        except ConnectionError:
            said = b""
        assert said == b""

    served(story)


def test_whoever_asks_nothing_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(challenges, "_MAX_CONNECTIONS", 2)

    async def story(port: int) -> None:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        request = f"GET {PATH}{TOKEN} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode()
        assert b" 200 " in await ask(port, request)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(silent[0][0].read(), 20) == b""
        for _, writer in silent:
            writer.close()

    served(story)


@pytest.mark.parametrize("joined", [True, False])
def test_a_thumbprint_may_begin_with_a_dash(joined: bool) -> None:
    dashed = "-" + THUMBPRINT[1:]
    words = ["--shelf", "/srv/ccs", "--challenges", "127.0.0.1:8402"]
    flag = "--challenge-thumbprint"
    words += [f"{flag}={dashed}"] if joined else [flag, dashed]
    settings, check = read_settings("certshelf-reader", [*words, "--check"])
    assert settings.challenge_thumbprint == dashed
    assert check


def test_a_thumbprint_that_is_none_is_refused_and_one_flag_needs_the_other() -> None:
    for text in ("", "short", "x" * 44, "x" * 42 + "\n"):
        with pytest.raises(ConfigError):
            ChallengeEndpoint(text)
    for words in (["--challenges", ":80"], ["--challenge-thumbprint", THUMBPRINT]):
        with pytest.raises(ConfigError, match="belong together"):
            read_settings("certshelf-reader", ["--shelf", "x", *words])

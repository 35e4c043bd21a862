"""The responder of http-01 and who asks whether one stands already."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from certshelf.challenge import HTTP01_PREFIX
from certshelf.errors import RecordBusy
from certshelf.issue.solve.http01 import Http01Responder, answers_already

THUMBPRINT = "x" * 43


def port_of(responder: Http01Responder) -> int:
    assert responder._runner
    port: int = responder._runner.addresses[0][1]
    return port


@pytest.mark.parametrize("host", ["www.example.test", "192.0.2.7", "2001:db8::7"])
def test_a_name_and_an_address_are_asked_for_as_a_ca_does(host: str) -> None:
    heard = []

    async def thumbprint_of(asked: str) -> str:
        heard.append(asked)
        return THUMBPRINT

    async def story() -> bool:
        async with Http01Responder("127.0.0.1", 0, thumbprint=thumbprint_of) as responder:
            return await answers_already(host, port_of(responder), THUMBPRINT)

    assert asyncio.run(story())
    assert heard == [host]


def test_a_host_that_cannot_be_looked_up_now_has_no_answer() -> None:
    async def thumbprint_of(asked: str) -> str:
        raise RecordBusy("the database is held by another process")

    async def story() -> int:
        async with (
            Http01Responder("127.0.0.1", 0, thumbprint=thumbprint_of) as responder,
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port_of(responder)}{HTTP01_PREFIX}{'t' * 32}") as told,
        ):
            return told.status

    assert asyncio.run(story()) == 404

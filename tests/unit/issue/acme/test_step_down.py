"""A CA cannot have us ask what listens on this machine for this machine alone."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.scripted_ca import ScriptedCa

from certshelf.errors import IssuerUnreachable
from certshelf.issue.acme.client import AcmeClient, ClientSettings
from certshelf.issue.acme.directory import no_step_down

PUBLIC = "https://ca.test/dir"


@pytest.mark.parametrize("url", ["http://127.0.0.1:6379/", "http://[::1]/x", "http://localhost/"])
def test_a_ca_reached_by_https_does_not_lead_to_http_here(url: str) -> None:
    with pytest.raises(IssuerUnreachable, match="from https"):
        no_step_down(url, PUBLIC)


def test_a_ca_on_this_machine_may_stay_on_http() -> None:
    no_step_down("http://127.0.0.1:14000/order", "http://127.0.0.1:14000/dir")
    no_step_down("https://other.test/order", PUBLIC)


def test_the_client_connects_to_nothing_on_such_a_step() -> None:
    async def story() -> int:
        async with ScriptedCa() as canary, AcmeClient(ClientSettings(PUBLIC)) as client:
            with pytest.raises(IssuerUnreachable, match="from https"):
                await client.get(canary.directory_url)
            return canary.counts.total()

    assert asyncio.run(story()) == 0

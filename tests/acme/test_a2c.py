"""ARI, `replaces` and profiles against a real CA that has them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from certshelf.errors import AcmeProblem
from certshelf.issue.acme import account, ari, steps
from certshelf.issue.acme.client import AcmeClient, ClientSettings
from certshelf.issue.acme.identifiers import identifiers
from certshelf.issue.acme.issuer import AcmeIssuer
from certshelf.issue.acme.retry import Polling
from certshelf.issue.issuer import IssueRequest
from certshelf.issue.solve.http01 import FarmHttp01
from certshelf.names import HostName
from tests.support.a2c import PROFILES, A2c, a2c

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]
REQUEST = IssueRequest((HostName.parse("a.example.com"),), "ecdsa-p256")


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[A2c]:
    with a2c(tmp_path_factory.mktemp("a2c")) as running:
        yield running


@asynccontextmanager
async def issuing(ca: A2c, profile: str = "") -> AsyncIterator[AcmeIssuer]:
    async with AcmeClient(ClientSettings(ca.directory_url, ca.ca_file)) as client:
        key = ec.generate_private_key(ec.SECP256R1())
        made = await account.register(client, key, contact=["a@example.com"])
        polling = Polling(0.1, 0.2, deadline_s=40)
        yield AcmeIssuer(client, made, [FarmHttp01()], profile, polling=polling)


def test_a_certificate_is_renewed_in_the_window_that_the_ca_suggests(ca: A2c) -> None:
    async def story() -> None:
        async with issuing(ca) as issuer:
            first = await issuer.issue(REQUEST, print)
            info = await ari.fetch(issuer.client, ari.cert_id(first.leaf))
            assert info is not None
            assert first.not_before < info.moment(random.Random(1)) < first.not_after
            second = await issuer.issue(replace(REQUEST, previous=first), print)
            assert second.leaf.serial_number != first.leaf.serial_number
            # replacing it a second time is refused by the CA, and goes on without
            await issuer.issue(replace(REQUEST, previous=first), print)

    asyncio.run(story())


def test_a_profile_of_the_directory_is_taken_and_another_refused(ca: A2c) -> None:
    async def story() -> None:
        async with issuing(ca, "shortlived") as issuer:
            assert (await issuer.client.directory()).profiles == PROFILES
            await issuer.issue(REQUEST, print)
            with pytest.raises(AcmeProblem, match="invalidProfile"):
                await steps.new_order(
                    issuer.client, issuer.account, identifiers(["a.test"]), profile="eternal"
                )

    asyncio.run(story())


def test_rollover_and_revocation_speak_this_dialect_too(ca: A2c) -> None:
    async def story() -> None:
        async with issuing(ca) as issuer:
            bundle = await issuer.issue(REQUEST, print)
            fresh = ec.generate_private_key(ec.SECP256R1())
            rolled = await account.roll_over(issuer.client, issuer.account, fresh)
            again = replace(issuer, account=rolled)
            await again.revoke(bundle.leaf, 4)

    asyncio.run(story())

"""The ACME issuer in one call: request in, bundle out, renewed, revoked, failed over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from certshelf.bundle.check import check
from certshelf.errors import BundleRefused, ConfigError
from certshelf.issue.acme import account, ari
from certshelf.issue.acme.client import AcmeClient, ClientSettings
from certshelf.issue.acme.identifiers import identifiers
from certshelf.issue.acme.issuer import AcmeIssuer, verified
from certshelf.issue.issuer import Issuer, IssueRequest, RenewalInfo, Revoker
from certshelf.issue.solve.http01 import FarmHttp01
from certshelf.names import HostName
from tests.support.clock import FakeClock
from tests.support.scripted_ca import ScriptedCa


def request(*names: str, key_type: str = "ecdsa-p256") -> IssueRequest:
    return IssueRequest(tuple(map(HostName.parse, names)), key_type)


@asynccontextmanager
async def issuing(ca: ScriptedCa, clock: FakeClock) -> AsyncIterator[AcmeIssuer]:
    async def sleep(seconds: float) -> None:
        clock.advance(seconds)

    settings = ClientSettings(ca.directory_url)
    async with AcmeClient(settings, clock=clock, sleep=sleep) as client:
        key = ec.generate_private_key(ec.SECP256R1())
        made = await account.register(client, key)
        yield AcmeIssuer(client, made, [FarmHttp01()])


@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ecdsa-p384", "rsa-2048"])
def test_a_request_becomes_a_sound_bundle(key_type: str) -> None:
    async def story() -> None:
        clock, told = FakeClock(), list[str]()
        async with ScriptedCa(clock=clock) as ca, issuing(ca, clock) as issuer:
            made: Issuer = issuer
            wanted = request("www.a.test", "a.test", key_type=key_type)
            bundle = await made.issue(wanted, told.append)
            clock.advance(60)
            assert check(bundle, HostName.parse("www.a.test"), clock.now()) is None
            assert bundle.key_type == key_type
            assert len(bundle.chain) == 1
            assert [told[0], told[-1]] == ["ordered", "downloaded"]

    asyncio.run(story())


def test_a_renewal_names_its_predecessor_and_has_a_new_key() -> None:
    async def story() -> None:
        clock = FakeClock()
        async with ScriptedCa(clock=clock) as ca, issuing(ca, clock) as issuer:
            first = await issuer.issue(request("a.test"), print)
            again = replace(request("a.test"), previous=first)
            second = await issuer.issue(again, print)
            assert ca.orders[2].replaces == ari.cert_id(first.leaf)
            assert second.leaf.public_key() != first.leaf.public_key()

    asyncio.run(story())


def test_it_can_revoke_and_knows_the_window() -> None:
    async def story() -> None:
        clock = FakeClock()
        async with ScriptedCa(clock=clock) as ca, issuing(ca, clock) as issuer:
            assert isinstance(issuer, Revoker)
            assert isinstance(issuer, RenewalInfo)
            bundle = await issuer.issue(request("a.test"), print)
            window = await issuer.renewal_window(bundle.leaf)
            assert window is not None
            assert window.start == bundle.not_before + timedelta(days=60)
            await issuer.revoke(bundle.leaf, 1)
            assert ca.revoked == [(bundle.leaf.serial_number, 1)]
            with pytest.raises(ConfigError, match="7"):
                await issuer.revoke(bundle.leaf, 7)

    asyncio.run(story())


def test_a_certificate_for_fewer_names_than_ordered_is_refused() -> None:
    async def story() -> None:
        clock = FakeClock()
        async with ScriptedCa(clock=clock) as ca, issuing(ca, clock) as issuer:
            bundle = await issuer.issue(request("a.test"), print)
            assert isinstance(bundle.leaf, x509.Certificate)
            with pytest.raises(BundleRefused, match=r"b\.test"):
                verified(bundle, identifiers(["a.test", "b.test"]))

    asyncio.run(story())

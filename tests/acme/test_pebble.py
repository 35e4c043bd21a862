"""The whole of RFC 8555 against a real CA."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from certshelf.bundle.model import PrivateKey
from certshelf.challenge import Challenge
from certshelf.errors import AcmeProblem, CredentialError
from certshelf.issue.acme import account, certificate, csr, steps
from certshelf.issue.acme.account import Account, ExternalBinding
from certshelf.issue.acme.client import AcmeClient, ClientSettings
from certshelf.issue.acme.identifiers import identifiers
from certshelf.issue.acme.order import Order, OrderStatus
from certshelf.issue.acme.retry import Polling
from certshelf.issue.acme.steps import Step
from certshelf.secret import Secret
from tests.support.pebble import EAB_KEY, EAB_KID, Pebble, pebble

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]
FAST = Polling(first_s=0.1, interval_s=0.1)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    folder = tmp_path_factory.mktemp("pebble")
    with pebble(folder, nonce_reject=20, always_valid=True, alternate_roots=2) as running:
        yield running


class AlwaysValid:
    """For a CA that does not look."""

    type = "http-01"

    async def present(self, challenge: Challenge) -> None: ...

    async def wait(self, challenge: Challenge) -> None: ...

    async def clean_up(self, challenge: Challenge) -> None: ...


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@asynccontextmanager
async def at(ca: Pebble, key: PrivateKey | None = None) -> AsyncIterator[Step]:
    async with AcmeClient(ClientSettings(ca.directory_url, ca.ca_file)) as client:
        yield Step(client, await account.register(client, key or new_key()), FAST)


def run(ca: Pebble, story: Callable[[Step], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with at(ca) as step:
            await story(step)

    asyncio.run(whole())


async def ready(step: Step, *names: str) -> Order:
    made = await steps.new_order(step.client, step.account, identifiers(names))
    return await steps.authorize(step, made, [AlwaysValid()])


async def issued(step: Step, *names: str) -> tuple[PrivateKey, Order, certificate.Chain]:
    key = new_key()
    valid = await steps.finalize(
        step, await ready(step, *names), csr.build(key, identifiers(names))
    )
    return key, valid, await steps.download(step, valid)


def sans(leaf: x509.Certificate) -> set[str]:
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = san.get_values_for_type(x509.IPAddress)
    return {*san.get_values_for_type(x509.DNSName), *map(str, addresses)}


def test_a_certificate_is_issued_while_every_fifth_nonce_is_refused(ca: Pebble) -> None:
    async def story(step: Step) -> None:
        names = ["a.example.com", "*.a.example.com", "bücher.example", "10.0.0.7"]
        wanted = identifiers(names)
        made = await steps.new_order(step.client, step.account, wanted)

        class AnyDns(AlwaysValid):
            type = "dns-01"

        done = await steps.authorize(step, made, [AlwaysValid(), AnyDns()])
        key = new_key()
        valid = await steps.finalize(step, done, csr.build(key, wanted))
        leaf, *chain = await steps.download(step, valid)
        assert sans(leaf) == {i.value for i in wanted}
        assert leaf.public_key() == key.public_key()
        leaf.verify_directly_issued_by(chain[0])
        assert all(c.issuer != c.subject for c in chain)

    run(ca, story)


def test_a_hundred_names_are_one_certificate(ca: Pebble) -> None:
    async def story(step: Step) -> None:
        names = [f"h{n}.many.example" for n in range(100)]
        _, _, chain = await issued(step, *names)
        assert sans(chain[0]) == set(names)

    run(ca, story)


def test_an_rsa_account_key_signs_too(ca: Pebble) -> None:
    async def story() -> None:
        async with at(ca, rsa.generate_private_key(65537, 2048)) as step:
            _, _, chain = await issued(step, "rsa.example.com")
            assert sans(chain[0]) == {"rsa.example.com"}

    asyncio.run(story())


def test_registering_twice_is_one_account_and_an_unknown_key_is_none(ca: Pebble) -> None:
    async def story(step: Step) -> None:
        again = await account.register(step.client, step.account.key, contact=["a@example.com"])
        found = await account.find(step.client, step.account.key)
        assert found is not None
        assert again.url == found.url == step.account.url
        assert await account.find(step.client, new_key()) is None

    run(ca, story)


def test_contacts_can_be_changed(ca: Pebble) -> None:
    async def story(step: Step) -> None:
        changed = await account.update(step.client, step.account, ["b@example.com"])
        assert changed.contact == ("mailto:b@example.com",)

    run(ca, story)


def test_a_rolled_over_key_signs_and_the_old_one_no_longer(ca: Pebble) -> None:
    async def story(step: Step) -> None:
        fresh = ec.generate_private_key(ec.SECP384R1())
        rolled = await account.roll_over(step.client, step.account, fresh)
        assert rolled.thumbprint != step.account.thumbprint
        found = await account.find(step.client, fresh)
        assert found is not None
        assert found.url == step.account.url
        with pytest.raises(AcmeProblem):
            await ready(step, "old.example.com")
        await ready(replace(step, account=rolled), "new.example.com")

    run(ca, story)


def test_a_deactivated_account_orders_nothing(ca: Pebble) -> None:
    async def story(step: Step) -> None:
        closed = await account.deactivate(step.client, step.account)
        assert closed.status == "deactivated"
        with pytest.raises(AcmeProblem):
            await ready(step, "closed.example.com")

    run(ca, story)


def test_the_chain_is_chosen_by_the_name_of_its_issuer(ca: Pebble) -> None:
    roots = [x509.load_pem_x509_certificate(pem) for pem in ca.roots()]
    names = [str(r.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value) for r in roots]
    assert len(set(names)) == 3

    async def story(step: Step) -> None:
        _, valid, _ = await issued(step, "chain.example.com")
        for name in names:
            chain = await steps.download(step, valid, preferred_issuer=name)
            assert certificate.ends_in(chain, name)
        default = await steps.download(step, valid, preferred_issuer="No Such Root")
        assert default == await steps.download(step, valid)
        assert len(await certificate.alternates(step.client, step.account, valid.certificate)) == 3

    run(ca, story)


@pytest.mark.parametrize("by", ["account", "certificate key"])
def test_a_certificate_is_revoked(ca: Pebble, by: str) -> None:
    async def story(step: Step) -> None:
        key, _, chain = await issued(step, "revoked.example.com")
        signer: Account | PrivateKey = step.account if by == "account" else key
        reason = certificate.Reason.keyCompromise
        await certificate.revoke(step.client, signer, chain[0], reason)
        await certificate.revoke(step.client, signer, chain[0], reason)  # twice is safe

    run(ca, story)


def test_every_step_may_be_taken_twice_and_one_certificate_comes_of_it(ca: Pebble) -> None:
    async def story(step: Step) -> None:
        before = ca.orders_made
        names = identifiers(["twice.example.com"])
        made = await steps.new_order(step.client, step.account, names)
        first = await steps.authorize(step, made, [AlwaysValid()])
        assert first.status is OrderStatus.READY
        # as after a kill: the record still says "pending", and then "ready"
        stale = await steps.authorize(step, made, [AlwaysValid()])
        assert stale.status is OrderStatus.READY
        request = csr.build(new_key(), names)
        valid = await steps.finalize(step, first, request)
        again = await steps.finalize(step, first, request)
        assert again.certificate == valid.certificate
        assert await steps.download(step, valid) == await steps.download(step, again)
        found = await steps.look(step, made.url)
        assert found is not None
        assert found.status is OrderStatus.VALID
        assert ca.orders_made == before + 1

    run(ca, story)


def test_answering_a_valid_challenge_again_means_look_again(ca: Pebble) -> None:
    async def story(step: Step) -> None:
        names = identifiers(["answered.example.com"])
        made = await steps.new_order(step.client, step.account, names)
        kept = await steps.authorization.fetch(step.client, step.account, made.authorizations[0])
        await steps.authorize(step, made, [AlwaysValid()])
        work = steps._work(step, kept, [AlwaysValid()])
        await steps._answer(step, made, work)

    run(ca, story)


def test_an_order_that_the_ca_does_not_know_is_none(ca: Pebble) -> None:
    async def story(step: Step) -> None:
        made = await steps.new_order(step.client, step.account, identifiers(["gone.example.com"]))
        assert await steps.look(step, made.url + "x") is None

    run(ca, story)


def test_many_orders_at_once_do_not_mix(ca: Pebble) -> None:
    async def story(step: Step) -> None:
        found = await asyncio.gather(*(issued(step, f"m{n}.example.com") for n in range(8)))
        for n, (key, _, chain) in enumerate(found):
            assert sans(chain[0]) == {f"m{n}.example.com"}
            assert chain[0].public_key() == key.public_key()

    run(ca, story)


def test_a_ca_with_an_unknown_root_is_refused_with_the_way_out(ca: Pebble) -> None:
    async def story() -> None:
        async with AcmeClient(ClientSettings(ca.directory_url)) as client:
            with pytest.raises(Exception, match="not trusted") as caught:
                await client.directory()
            assert "--ca-file" in caught.value.hint  # type: ignore[attr-defined]

    asyncio.run(story())


def test_an_external_binding_is_demanded_and_given(tmp_path: Path) -> None:
    with pebble(tmp_path, eab=True, always_valid=True) as ca:

        async def story() -> None:
            async with AcmeClient(ClientSettings(ca.directory_url, ca.ca_file)) as client:
                with pytest.raises(CredentialError):
                    await account.register(client, new_key())
                wrong = ExternalBinding(EAB_KID, Secret("d3Jvbmc"))
                with pytest.raises(AcmeProblem):
                    await account.register(client, new_key(), binding=wrong)
                binding = ExternalBinding(EAB_KID, Secret(EAB_KEY))
                made = await account.register(client, new_key(), binding=binding)
                assert made.status == "valid"

        asyncio.run(story())


def test_reused_authorizations_need_no_challenge(tmp_path: Path) -> None:
    with pebble(tmp_path, authz_reuse=100, always_valid=True) as ca:

        async def story() -> None:
            async with at(ca) as step:
                await issued(step, "reused.example.com")
                names = identifiers(["reused.example.com"])
                again = await steps.new_order(step.client, step.account, names)
                done = await steps.authorize(step, again, [])  # no solver at all
                assert done.status is OrderStatus.READY

        asyncio.run(story())

"""certbot's `acme` library as an oracle: the same order through both gives the same result."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from certshelf.issue.acme import account, ari, csr, jws, steps
from certshelf.issue.acme.client import AcmeClient, ClientSettings
from certshelf.issue.acme.identifiers import identifiers
from certshelf.issue.acme.issuer import names_of
from certshelf.issue.acme.retry import Polling
from certshelf.issue.solve.http01 import FarmHttp01, Http01Responder
from tests.support.pebble import Pebble, pebble

client = pytest.importorskip("acme.client")
josepy = pytest.importorskip("josepy")
messages = pytest.importorskip("acme.messages")
challenges = pytest.importorskip("acme.challenges")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]
NAMES = ["one.example.com", "two.example.com", "xn--bcher-kva.example"]


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    # the library gives up at the second refused nonce in a row, so none is refused here
    with pebble(tmp_path_factory.mktemp("pebble")) as running:
        yield running


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def theirs(ca: Pebble, key: rsa.RSAPrivateKey) -> Any:
    network = client.ClientNetwork(
        josepy.JWKRSA(key=key), verify_ssl=str(ca.ca_file), user_agent="oracle"
    )
    directory = client.ClientV2.get_directory(ca.directory_url, network)
    return client.ClientV2(directory, network)


def registered(ca: Pebble, key: rsa.RSAPrivateKey) -> tuple[Any, Any]:
    api = theirs(ca, key)
    request = messages.NewRegistration(key=api.net.key.public_key(), only_return_existing=True)
    try:
        api.net.account = api.query_registration(
            messages.RegistrationResource(uri=None, body=request)
        )
    except messages.Error:
        made = messages.NewRegistration.from_data(terms_of_service_agreed=True)
        api.new_account(made)
    return api, api.net.account


def through_theirs(ca: Pebble, key: rsa.RSAPrivateKey, request: bytes) -> list[x509.Certificate]:
    api, _ = registered(ca, key)
    pem = x509.load_der_x509_csr(request).public_bytes(Encoding.PEM)
    order = api.new_order(pem)
    for found in order.authorizations:
        if found.body.status == messages.STATUS_VALID:
            continue  # reused (RFC 8555 section 7.4); Pebble does so for one in 100 at 0 percent
        for body in found.body.challenges:
            if isinstance(body.chall, challenges.HTTP01):
                api.answer_challenge(body, body.response(api.net.key))
    deadline = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=60)
    done = api.poll_and_finalize(order, deadline)
    return list(x509.load_pem_x509_certificates(done.fullchain_pem.encode()))


async def through_ours(
    ca: Pebble, key: rsa.RSAPrivateKey, request: bytes
) -> tuple[x509.Certificate, ...]:
    async with AcmeClient(ClientSettings(ca.directory_url, ca.ca_file)) as ours:
        made = await account.register(ours, key)
        step = steps.Step(ours, made, Polling(0.1, 0.1))
        order = await steps.new_order(ours, made, identifiers(NAMES))
        ready = await steps.authorize(step, order, [FarmHttp01()])
        return await steps.download(step, await steps.finalize(step, ready, request))


def described(leaf: x509.Certificate) -> dict[str, object]:
    """All that two certificates for one request must share."""
    return {
        "names": names_of(leaf),
        "issuer": leaf.issuer,
        "key": leaf.public_key(),
        "life": leaf.not_valid_after_utc - leaf.not_valid_before_utc,
        "extensions": sorted(e.oid.dotted_string for e in leaf.extensions),
    }


def test_the_same_order_through_both_gives_the_same_certificate(
    ca: Pebble, key: rsa.RSAPrivateKey
) -> None:
    request = csr.build(rsa.generate_private_key(65537, 2048), identifiers(NAMES))

    async def story() -> None:
        responder = Http01Responder("127.0.0.1", ca.http_port, thumbprint=jws.thumbprint(key))
        async with responder:
            mine = await through_ours(ca, key, request)
            other = await asyncio.to_thread(through_theirs, ca, key, request)
        assert described(mine[0]) == described(other[0])
        assert mine[1:] == tuple(other[1:])

    asyncio.run(story())


def test_both_are_the_same_account_with_the_same_thumbprint(
    ca: Pebble, key: rsa.RSAPrivateKey
) -> None:
    async def story() -> str:
        async with AcmeClient(ClientSettings(ca.directory_url, ca.ca_file)) as ours:
            return (await account.register(ours, key)).url

    url = asyncio.run(story())
    _, resource = registered(ca, key)
    assert resource.uri == url
    assert josepy.b64encode(josepy.JWKRSA(key=key).thumbprint()).decode() == jws.thumbprint(key)


def test_a_signature_of_ours_is_read_by_theirs(key: rsa.RSAPrivateKey) -> None:
    signed = jws.sign(key, {"nonce": "bm9uY2U", "url": "https://ca.test/x"}, b'{"a": 1}')
    read = pytest.importorskip("acme.jws").JWS.from_json(
        {**signed, "header": {"jwk": jws.jwk(key)}}
    )
    assert read.verify(josepy.JWKRSA(key=key.public_key()))
    assert read.payload == b'{"a": 1}'


def test_our_ari_id_is_the_one_that_theirs_asks_for(ca: Pebble, key: rsa.RSAPrivateKey) -> None:
    build = getattr(client, "_renewal_info_path_component", None)
    if build is None:
        pytest.skip("this version of the library has no such function")
    request = csr.build(key=rsa.generate_private_key(65537, 2048), identifiers=identifiers(NAMES))

    async def story() -> x509.Certificate:
        responder = Http01Responder("127.0.0.1", ca.http_port, thumbprint=jws.thumbprint(key))
        async with responder:
            return (await through_ours(ca, key, request))[0]

    leaf = asyncio.run(story())
    assert ari.cert_id(leaf) == build(leaf)

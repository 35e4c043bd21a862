"""The responders of our own, asked by a real CA."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from certshelf.challenge import Challenge
from certshelf.errors import ChallengeFailed, ConfigError
from certshelf.issue.acme import account, csr, steps
from certshelf.issue.acme.client import AcmeClient, ClientSettings
from certshelf.issue.acme.identifiers import identifiers
from certshelf.issue.acme.retry import Polling
from certshelf.issue.solve.base import Solver
from certshelf.issue.solve.http01 import FarmHttp01, Http01Responder, Webroot
from certshelf.issue.solve.tlsalpn01 import TlsAlpn01Responder
from tests.support.pebble import Pebble, pebble

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with pebble(tmp_path_factory.mktemp("pebble"), nonce_reject=5) as running:
        yield running


async def issue(step: steps.Step, names: list[str], solvers: list[Solver]) -> x509.Certificate:
    wanted = identifiers(names)
    order = await steps.new_order(step.client, step.account, wanted)
    ready = await steps.authorize(step, order, solvers)
    key = ec.generate_private_key(ec.SECP256R1())
    valid = await steps.finalize(step, ready, csr.build(key, wanted))
    return (await steps.download(step, valid))[0]


async def stepping(ca: Pebble, client: AcmeClient) -> steps.Step:
    made = await account.register(client, ec.generate_private_key(ec.SECP256R1()))
    return steps.Step(client, made, Polling(0.1, 0.1, deadline_s=30))


def client_of(ca: Pebble) -> AcmeClient:
    return AcmeClient(ClientSettings(ca.directory_url, ca.ca_file))


def test_one_http01_responder_serves_many_orders_and_forgets_them(ca: Pebble) -> None:
    async def story() -> None:
        async with client_of(ca) as client, Http01Responder("127.0.0.1", ca.http_port) as http:
            step = await stepping(ca, client)
            names = [[f"h{n}.example.com", f"i{n}.example.com"] for n in range(4)]
            found = await asyncio.gather(*(issue(step, pair, [http]) for pair in names))
            assert len({leaf.serial_number for leaf in found}) == 4
            assert not http._answers

    asyncio.run(story())


def test_farm_mode_needs_only_the_thumbprint(ca: Pebble) -> None:
    async def story() -> None:
        async with client_of(ca) as client:
            step = await stepping(ca, client)
            member = Http01Responder("127.0.0.1", ca.http_port, thumbprint=step.account.thumbprint)
            async with member:
                await issue(step, ["farm.example.com"], [FarmHttp01()])

    asyncio.run(story())


def test_an_address_is_proved_by_http01_and_by_tls_alpn_01(ca: Pebble) -> None:
    async def story() -> None:
        async with (
            client_of(ca) as client,
            Http01Responder("127.0.0.1", ca.http_port) as http,
            TlsAlpn01Responder("127.0.0.1", ca.tls_port) as alpn,
        ):
            step = await stepping(ca, client)
            for solver in (http, alpn):
                leaf = await issue(step, ["127.0.0.1"], [solver])
                san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
                assert [str(a) for a in san.value.get_values_for_type(x509.IPAddress)] == [
                    "127.0.0.1"
                ]

    asyncio.run(story())


def test_tls_alpn_01_serves_many_names(ca: Pebble) -> None:
    async def story() -> None:
        async with client_of(ca) as client, TlsAlpn01Responder("127.0.0.1", ca.tls_port) as alpn:
            step = await stepping(ca, client)
            await issue(step, ["t1.example.com", "t2.example.com", "bücher.example"], [alpn])
            assert not alpn._contexts

    asyncio.run(story())


def test_tls_alpn_01_refuses_names_that_are_not_at_issue(ca: Pebble) -> None:
    async def story() -> None:
        async with TlsAlpn01Responder("127.0.0.1", 0) as alpn:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asyncio.open_connection(
                    "127.0.0.1", alpn.port, ssl=context, server_hostname="other.test"
                )

    asyncio.run(story())


def test_a_wrong_answer_fails_with_the_name_and_the_cas_reason(ca: Pebble) -> None:
    async def story() -> None:
        async with client_of(ca) as client:
            step = await stepping(ca, client)
            wrong = Http01Responder("127.0.0.1", ca.http_port, thumbprint="x" * 43)
            async with wrong:
                with pytest.raises(ChallengeFailed, match=r"wrong\.example\.com: ") as caught:
                    await issue(step, ["wrong.example.com"], [FarmHttp01()])
            assert caught.value.retry_at is not None
            assert caught.value.hint

    asyncio.run(story())


def test_a_wildcard_without_a_dns_solver_fails_before_the_ca_is_told(ca: Pebble) -> None:
    async def story() -> None:
        async with client_of(ca) as client:
            step = await stepping(ca, client)
            with pytest.raises(ChallengeFailed, match="dns-01"):
                await issue(step, ["*.wild.example.com"], [FarmHttp01()])

    asyncio.run(story())


def test_an_order_cut_off_after_presenting_goes_on(ca: Pebble) -> None:
    class Cut(Http01Responder):
        async def wait(self, challenge: Challenge) -> None:
            raise ChallengeFailed("cut off")

    async def story() -> None:
        async with client_of(ca) as client:
            step = await stepping(ca, client)
            wanted = identifiers(["cut.example.com"])
            order = await steps.new_order(client, step.account, wanted)
            async with Cut("127.0.0.1", ca.http_port) as cut:
                with pytest.raises(ChallengeFailed, match="cut off"):
                    await steps.authorize(step, order, [cut])
            found = await steps.look(step, order.url)
            assert found is not None
            async with Http01Responder("127.0.0.1", ca.http_port) as http:
                ready = await steps.authorize(step, found, [http])
            assert ready.status == "ready"

    asyncio.run(story())


def test_a_port_in_use_is_named() -> None:
    async def story() -> None:
        async with Http01Responder("127.0.0.1", 0) as first:
            with pytest.raises(ConfigError, match=str(first.port)):
                await Http01Responder("127.0.0.1", first.port).__aenter__()
        async with TlsAlpn01Responder("127.0.0.1", 0) as alpn:
            with pytest.raises(ConfigError, match=str(alpn.port)):
                await TlsAlpn01Responder("127.0.0.1", alpn.port).__aenter__()

    asyncio.run(story())


def test_a_webroot_holds_the_token_file_while_it_is_needed(tmp_path: Path) -> None:
    shown = Challenge("http-01", "a.test", "t" * 43, "t" * 43 + ".thumb")

    async def story() -> None:
        webroot = Webroot(tmp_path)
        await webroot.present(shown)
        await webroot.present(shown)
        path = tmp_path / ".well-known/acme-challenge" / ("t" * 43)
        assert path.read_text() == shown.key_authorization
        assert [p.name for p in path.parent.iterdir()] == [path.name]
        await webroot.clean_up(shown)
        await webroot.clean_up(shown)
        assert not path.exists()
        with pytest.raises(ChallengeFailed):
            await webroot.present(Challenge("http-01", "a.test", "../" * 10, "x"))

    asyncio.run(story())

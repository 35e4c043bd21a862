"""`cert test`: what would fail is found before any order, with a real BIND and responders."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from certshelf.errors import ChallengeFailed, CredentialError
from certshelf.finding import Finding, Severity
from certshelf.issue.acme.identifiers import identifiers
from certshelf.issue.solve.base import Solver
from certshelf.issue.solve.dns.acmedns import AcmeDns, AcmeDnsAccount
from certshelf.issue.solve.dns.lookup import Lookup, NameServer
from certshelf.issue.solve.dns.rfc2136 import Rfc2136, Tsig
from certshelf.issue.solve.dns01 import Dns01, Propagation
from certshelf.issue.solve.http01 import FarmHttp01, Http01Responder
from certshelf.issue.solve.preflight import Preflight
from certshelf.issue.solve.tlsalpn01 import TlsAlpn01Responder
from certshelf.secret import Secret
from tests.support.bind import KEY_NAME, Bind, bind
from tests.support.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]
THUMBPRINT = "t" * 43
OURS = '@ CAA 0 issue "ca.test"\n'


@pytest.fixture(scope="module")
def dns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bind]:
    zones = {
        "example.test": OURS + 'banned CAA 0 issue "other.test"\nbare TXT "no address here"\n',
        "frozen.test": OURS,
        "open.test": "",
    }
    with bind(tmp_path_factory.mktemp("bind"), zones) as running:
        yield running


def lookup(dns: Bind) -> Lookup:
    server = NameServer("127.0.0.1", dns.port)
    return Lookup(server, (server,))


def preflight(dns: Bind, http_port: int = 80, tls_port: int = 443) -> Preflight:
    return Preflight(
        lookup(dns), THUMBPRINT, "https://ca.test/acct/1", ("ca.test",), http_port, tls_port
    )


def run(check: Preflight, names: Sequence[str], solvers: Sequence[Solver]) -> list[Finding]:
    return asyncio.run(check.check(identifiers(names), solvers))


def test_a_farm_member_with_the_right_rule_is_ready(dns: Bind) -> None:
    async def story() -> list[Finding]:
        async with Http01Responder("127.0.0.1", 0, thumbprint=THUMBPRINT) as member:
            check = preflight(dns, member.port)
            return await check.check(identifiers(["www.example.test", "127.0.0.1"]), [FarmHttp01()])

    assert [f.id for f in asyncio.run(story())] == ["issue-ready", "issue-ready"]


def test_a_member_with_another_accounts_rule_gives_the_wrong_answer(dns: Bind) -> None:
    async def story() -> list[Finding]:
        async with Http01Responder("127.0.0.1", 0, thumbprint="x" * 43) as member:
            check = preflight(dns, member.port)
            return await check.check(identifiers(["www.example.test"]), [FarmHttp01()])

    (finding,) = asyncio.run(story())
    assert finding.id == "http01-wrong-answer"
    assert "configure http-01" in finding.do


def test_a_closed_port_is_named(dns: Bind) -> None:
    port = free_port()
    (finding,) = run(preflight(dns, port), ["www.example.test"], [FarmHttp01()])
    assert finding.id == "http01-unreachable"
    assert f"127.0.0.1 port {port}" in finding.what


def test_our_own_responders_are_tried_with_a_made_up_challenge(dns: Bind) -> None:
    async def story() -> list[Finding]:
        async with (
            Http01Responder("127.0.0.1", 0) as http,
            TlsAlpn01Responder("127.0.0.1", 0) as alpn,
        ):
            check = preflight(dns, http.port, alpn.port)
            names = identifiers(["www.example.test"])
            found = await check.check(names, [http]) + await check.check(names, [alpn])
            assert not http._answers
            assert not alpn._contexts
            return found

    assert [f.id for f in asyncio.run(story())] == ["issue-ready", "issue-ready"]


def test_a_port_without_acme_tls_is_named(dns: Bind) -> None:
    check = preflight(dns, tls_port=free_port())
    (finding,) = run(check, ["www.example.test"], [TlsAlpn01Responder("127.0.0.1", 0)])
    assert finding.id == "tls-alpn01-wrong-answer"


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("bare.example.test", "name-has-no-address"),
        ("*.example.test", "no-challenge-fits"),
        ("banned.example.test", "caa-forbids"),
    ],
)
def test_what_dns_forbids_is_found(dns: Bind, name: str, finding: str) -> None:
    found = run(preflight(dns, free_port()), [name], [FarmHttp01()])
    assert finding in [f.id for f in found]


def test_a_domain_without_caa_records_is_told_which_one_to_add(dns: Bind) -> None:
    found = run(preflight(dns), ["*.open.test"], [dns01(dns, "open.test")])
    assert [(f.id, f.severity) for f in found] == [
        ("caa-missing", Severity.INFO),
        ("issue-ready", Severity.OK),
    ]
    assert 'CAA 0 issue "ca.test; accounturi=https://ca.test/acct/1"' in found[0].do


def dns01(dns: Bind, zone: str) -> Dns01:
    key = Tsig(KEY_NAME, dns.tsig_secret)
    writer = Rfc2136(NameServer("127.0.0.1", dns.port), zone, key)
    return Dns01(writer, lookup(dns), propagation=Propagation(deadline_s=1, interval_s=0.1))


def test_a_zone_that_may_be_written_is_ready_and_left_clean(dns: Bind) -> None:
    found = run(preflight(dns), ["*.example.test"], [dns01(dns, "example.test")])
    assert [f.id for f in found] == ["issue-ready"]
    server = NameServer("127.0.0.1", dns.port)
    left = asyncio.run(lookup(dns).texts_at(server, "_acme-challenge.example.test"))
    assert left == ()


def test_a_missing_delegation_is_found(dns: Bind) -> None:
    (finding,) = run(preflight(dns), ["www.frozen.test"], [dns01(dns, "example.test")])
    assert finding.id == "challenge-not-presented"
    assert "not in the zone example.test" in finding.what
    assert "CNAME" in finding.do


def test_a_resolver_that_does_not_answer_is_found() -> None:
    check = Preflight(Lookup(NameServer("127.0.0.1", free_port())), THUMBPRINT)
    found = run(check, ["a.test"], [FarmHttp01()])
    assert {f.id for f in found} == {"dns-answer-missing", "challenge-not-presented"}


def test_acme_dns_takes_the_value_for_its_own_name_only() -> None:
    from aiohttp import web

    seen = []

    async def update(request: web.Request) -> web.Response:
        if request.headers["X-Api-Key"] != "pw":
            return web.Response(status=401)
        seen.append(await request.json())
        return web.json_response({"txt": "ok"})

    async def story() -> None:
        app = web.Application()
        app.router.add_post("/update", update)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            good = AcmeDns(AcmeDnsAccount(url, "user", Secret("pw"), "abcd"))
            await good.add("abcd.acme-dns.test", "v")
            await good.remove("abcd.acme-dns.test", "v")
            assert seen == [{"subdomain": "abcd", "txt": "v"}]
            with pytest.raises(ChallengeFailed, match="not the acme-dns name"):
                await good.add("_acme-challenge.a.test", "v")
            wrong = AcmeDns(AcmeDnsAccount(url, "user", Secret("bad"), "abcd"))
            with pytest.raises(CredentialError):
                await wrong.add("abcd.acme-dns.test", "v")
        finally:
            await runner.cleanup()
        with pytest.raises(ChallengeFailed, match="does not answer"):
            await good.add("abcd.acme-dns.test", "v")

    asyncio.run(story())

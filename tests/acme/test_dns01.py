"""dns-01 and its records against a real BIND, and a real CA that asks that BIND."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from certshelf.challenge import Challenge
from certshelf.errors import ChallengeFailed, ConfigError, CredentialError
from certshelf.issue.acme import account, csr, steps
from certshelf.issue.acme.client import AcmeClient, ClientSettings
from certshelf.issue.acme.identifiers import identifiers
from certshelf.issue.acme.retry import Polling
from certshelf.issue.solve.dns.exec import ExecHook
from certshelf.issue.solve.dns.lookup import Lookup, NameServer
from certshelf.issue.solve.dns.rfc2136 import Rfc2136, Tsig
from certshelf.issue.solve.dns01 import Dns01, Propagation
from certshelf.issue.solve.dnspersist01 import DnsPersist01, StandingRecord
from certshelf.secret import Secret
from tests.support.bind import KEY_NAME, Bind, bind
from tests.support.clock import FakeClock
from tests.support.pebble import pebble

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]
ACCOUNT = "https://ca.test/acct/1"
ZONES = {
    "example.test": (
        "_acme-challenge.delegated CNAME abcd.alias.example.test.\n"
        "_acme-challenge.loop CNAME _acme-challenge.pool.example.test.\n"
        "_acme-challenge.pool CNAME _acme-challenge.loop.example.test.\n"
        f'_validation-persist.standing TXT "ca.test; accounturi={ACCOUNT}; policy=wildcard"\n'
        f'_validation-persist.plain TXT "ca.test; accounturi={ACCOUNT}"\n'
        '@ CAA 0 issue "ca.test"\n'
    ),
}


@pytest.fixture(scope="module")
def dns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bind]:
    with bind(tmp_path_factory.mktemp("bind"), ZONES) as running:
        yield running


def server(dns: Bind) -> NameServer:
    return NameServer("127.0.0.1", dns.port)


def lookup(dns: Bind) -> Lookup:
    return Lookup(server(dns), (server(dns),))


def writer(dns: Bind, secret: Secret | None = None) -> Rfc2136:
    key = Tsig(KEY_NAME, secret or dns.tsig_secret)
    return Rfc2136(server(dns), "example.test", key)


def challenge(name: str) -> Challenge:
    token = secrets.token_urlsafe(32)
    return Challenge("dns-01", name, token, token + ".thumbprint")


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


async def texts(dns: Bind, name: str) -> set[str]:
    return set(await lookup(dns).texts_at(server(dns), name))


def test_records_come_and_go_one_by_one_and_twice_is_safe(dns: Bind) -> None:
    async def story() -> None:
        solver = Dns01(writer(dns), lookup(dns))
        first, second = challenge("two.example.test"), challenge("two.example.test")
        for shown in (first, second, first):
            await solver.present(shown)
            await solver.wait(shown)
        name = "_acme-challenge.two.example.test"
        assert await texts(dns, name) == {first.dns_value, second.dns_value}
        await solver.clean_up(first)
        await solver.clean_up(first)
        assert await texts(dns, name) == {second.dns_value}
        await solver.clean_up(second)
        assert await texts(dns, name) == set()

    asyncio.run(story())


def test_a_delegation_by_cname_is_followed(dns: Bind) -> None:
    async def story() -> None:
        solver, shown = Dns01(writer(dns), lookup(dns)), challenge("delegated.example.test")
        await solver.present(shown)
        await solver.wait(shown)
        assert await texts(dns, "abcd.alias.example.test") == {shown.dns_value}
        await solver.clean_up(shown)

    asyncio.run(story())


def test_cnames_in_a_circle_end_in_an_error(dns: Bind) -> None:
    with pytest.raises(ChallengeFailed, match="never end"):
        asyncio.run(Dns01(writer(dns), lookup(dns)).present(challenge("loop.example.test")))


def test_the_wait_ends_at_its_deadline_and_names_the_server(dns: Bind) -> None:
    clock = FakeClock()

    async def sleep(seconds: float) -> None:
        clock.advance(seconds)

    solver = Dns01(
        writer(dns),
        lookup(dns),
        propagation=Propagation(deadline_s=10, interval_s=2),
        clock=clock,
        sleep=sleep,
    )
    with pytest.raises(ChallengeFailed, match=f"127.0.0.1:{dns.port}"):
        asyncio.run(solver.wait(challenge("never.example.test")))
    assert clock.monotonic() == 10


def test_a_wrong_tsig_secret_is_a_credential_error_that_does_not_show_it(dns: Bind) -> None:
    wrong = base64.b64encode(os.urandom(32)).decode()
    with pytest.raises(CredentialError) as caught:
        asyncio.run(writer(dns, Secret(wrong)).add("_acme-challenge.a.example.test", "v"))
    assert wrong not in str(caught.value) + repr(caught.value)


def test_what_the_key_may_not_write_is_refused(dns: Bind) -> None:
    with pytest.raises(ConfigError, match="not in the zone"):
        asyncio.run(writer(dns).add("_acme-challenge.elsewhere.test", "v"))
    with pytest.raises(ChallengeFailed, match="REFUSED"):
        asyncio.run(writer(dns).add("example.test", "v"))


def test_a_name_server_that_is_not_there_is_named(dns: Bind) -> None:
    gone = Rfc2136(NameServer("127.0.0.1", 1), "example.test", Tsig(KEY_NAME, dns.tsig_secret))
    with pytest.raises(ChallengeFailed, match=r"127\.0\.0\.1:1"):
        asyncio.run(gone.add("_acme-challenge.a.example.test", "v"))


def test_zone_authorities_and_caa_are_found(dns: Bind) -> None:
    async def story() -> None:
        public = Lookup(server(dns))
        assert await public.zone("a.b.example.test") == "example.test"
        found = await public.authorities("a.example.test")
        assert [(s.name, s.address) for s in found] == [("ns.example.test", "127.0.0.1")]
        assert await public.caa("a.b.example.test") == ("example.test", (("issue", "ca.test"),))

    asyncio.run(story())


def test_a_real_ca_validates_names_wildcards_and_delegations(dns: Bind, tmp_path: Path) -> None:
    with pebble(tmp_path, dns_server=f"127.0.0.1:{dns.port}") as ca:

        async def story() -> None:
            settings = ClientSettings(ca.directory_url, ca.ca_file)
            async with AcmeClient(settings) as client:
                step = steps.Step(
                    client,
                    await account.register(client, new_key()),
                    Polling(0.1, 0.1, deadline_s=30),
                )
                names = identifiers(
                    ["real.example.test", "*.real.example.test", "delegated.example.test"]
                )
                solver = Dns01(writer(dns), lookup(dns))
                order = await steps.new_order(client, step.account, names)
                ready = await steps.authorize(step, order, [solver])
                valid = await steps.finalize(step, ready, csr.build(new_key(), names))
                assert len(await steps.download(step, valid)) == 2
                # the records are gone again
                assert await texts(dns, "_acme-challenge.real.example.test") == set()
                assert await texts(dns, "abcd.alias.example.test") == set()

        asyncio.run(story())


HOOK = """
import json, os, sys
said = json.load(sys.stdin)
with open(sys.argv[1], "a") as log:
    print(json.dumps([sys.argv[2:], said, sorted(os.environ), os.environ["CERTSHELF_VALUE"]]),
          file=log)
if "broken" in sys.argv[3]:
    print("no such zone", said["credential"]); sys.exit(3)
"""


def hook(tmp_path: Path) -> tuple[ExecHook, Path]:
    script, log = tmp_path / "hook.py", tmp_path / "log"
    script.write_text(HOOK)
    return ExecHook([sys.executable, str(script), str(log)], credential=Secret("s3cret")), log


def test_a_hook_gets_all_by_argument_environment_and_input_but_secrets_by_input_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    monkeypatch.setenv("CERTSHELF_DB_PASSWORD", "hidden")
    program, log = hook(tmp_path)
    asyncio.run(program.add("_acme-challenge.a.test", "va$lue; `id`"))
    argv, said, environment, value = json.loads(log.read_text())
    assert argv == ["present", "_acme-challenge.a.test.", "va$lue; `id`"]
    assert said["credential"] == "s3cret"
    assert value == said["value"] == "va$lue; `id`"
    assert "CERTSHELF_DB_PASSWORD" not in environment


def test_a_hook_that_fails_is_told_with_its_words_but_not_its_secret(tmp_path: Path) -> None:
    program, _ = hook(tmp_path)
    with pytest.raises(ChallengeFailed, match=r"ended with 3: no such zone \*\*\*"):
        asyncio.run(program.remove("broken.test", "v"))


def test_a_hook_that_hangs_is_killed(tmp_path: Path) -> None:
    program = ExecHook([sys.executable, "-c", "import time; time.sleep(60)", "-"], timeout_s=0.3)
    with pytest.raises(ChallengeFailed, match="did not end"):
        asyncio.run(program.add("a.test", "v"))


def test_a_hook_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="no-such-hook"):
        asyncio.run(ExecHook(["/no-such-hook"]).add("a.test", "v"))


@pytest.mark.parametrize(
    ("name", "wildcard", "why"),
    [
        ("standing", True, ""),
        ("standing", False, ""),
        ("plain", False, ""),
        ("plain", True, "policy=wildcard"),
        ("missing", False, "there is none"),
    ],
)
def test_a_standing_record_is_verified(dns: Bind, name: str, wildcard: bool, why: str) -> None:
    solver = DnsPersist01(lookup(dns), ("ca.test",), ACCOUNT, wildcard)
    asked = Challenge("dns-persist-01", f"{name}.example.test", "", "")
    if not why:
        asyncio.run(solver.wait(asked))
        return
    with pytest.raises(ChallengeFailed, match=why) as caught:
        asyncio.run(solver.wait(asked))
    wanted = StandingRecord("ca.test", ACCOUNT, wildcard).value()
    assert wanted in caught.value.hint

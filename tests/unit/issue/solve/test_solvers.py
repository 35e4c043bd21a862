"""Solvers' own arithmetic: standing records, the challenge certificate, rules, lexicon's call."""

from __future__ import annotations

import asyncio
import sys
import types
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509

from certshelf.challenge import HTTP01_PREFIX, Challenge, stateless_answer
from certshelf.errors import ChallengeFailed, ConfigError, CredentialError
from certshelf.farm import Kind
from certshelf.issue.solve import tlsalpn01
from certshelf.issue.solve.dns.lexicon import Lexicon
from certshelf.issue.solve.dns.rfc2136 import Tsig
from certshelf.issue.solve.dnspersist01 import StandingRecord
from certshelf.issue.solve.snippets import http01_rule
from certshelf.secret import Secret

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ACCOUNT = "https://ca.test/acct/1"
TOKEN = "t" * 43


@pytest.mark.parametrize(
    "token", ["x" * 19, "x" * 129, "<script>" * 4, TOKEN + "\n", TOKEN + "/x", "é" * 30, ""]
)
def test_a_stateless_answer_is_given_to_no_other_thing_than_a_token(token: str) -> None:
    assert stateless_answer(HTTP01_PREFIX + token, "thumb") is None


def test_a_stateless_answer_is_token_and_thumbprint() -> None:
    assert stateless_answer(HTTP01_PREFIX + TOKEN, "thumb") == f"{TOKEN}.thumb"
    assert stateless_answer("/other/" + TOKEN, "thumb") is None


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (f"ca.test; accounturi={ACCOUNT}; policy=wildcard", ""),
        (f" CA.test. ;accounturi={ACCOUNT};policy=Wildcard; future=x", ""),
        (f"ca.test; accounturi={ACCOUNT}", "policy=wildcard"),
        (f"other.test; accounturi={ACCOUNT}; policy=wildcard", "names other.test"),
        ("ca.test; accounturi=https://ca.test/acct/2; policy=wildcard", "another account"),
        ("ca.test", "another account"),
        (f"ca.test; accounturi={ACCOUNT}; accounturi={ACCOUNT}", "malformed"),
        (f"ca.test; accounturi={ACCOUNT}; policy=wildcard; persistUntil=1", "has passed"),
        (f"ca.test; accounturi={ACCOUNT}; policy=wildcard; persistUntil=x", "no number"),
        (f"ca.test; accounturi={ACCOUNT}; policy=wildcard; persistUntil=99999999999", ""),
        ("", "nobody"),
    ],
)
def test_a_standing_record_grants_or_says_why_not(value: str, why: str) -> None:
    wanted = StandingRecord("ca.test", ACCOUNT, wildcard=True)
    found = wanted.refusal(value, NOW)
    assert why in found if why else found == ""


def test_a_standing_record_grants_what_it_prints() -> None:
    record = StandingRecord("ca.test", ACCOUNT, wildcard=True, until=NOW + timedelta(days=1))
    assert record.refusal(record.value(), NOW) == ""
    assert record.refusal(record.value(), NOW + timedelta(days=1)) == "its persistUntil has passed"
    assert record.zone_line("a.test").startswith("_validation-persist.a.test. IN TXT ")


def test_a_long_standing_record_is_cut_into_strings() -> None:
    line = StandingRecord("ca.test", "https://ca.test/" + "a" * 300).zone_line("a.test")
    assert line.count('"') == 4


def test_the_challenge_certificate_is_that_of_rfc_8737() -> None:
    shown = Challenge("tls-alpn-01", "a.test", TOKEN, TOKEN + ".thumb")
    _, leaf = tlsalpn01.certificate(shown)
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(san) == [x509.DNSName("a.test")]
    extension = leaf.extensions.get_extension_for_oid(tlsalpn01.ACME_IDENTIFIER)
    assert extension.critical
    assert isinstance(extension.value, x509.UnrecognizedExtension)
    assert extension.value.value == b"\x04\x20" + shown.alpn_digest


def test_an_address_is_asked_for_by_its_reverse_name() -> None:
    assert tlsalpn01.server_name("10.1.2.3") == "3.2.1.10.in-addr.arpa"
    assert tlsalpn01.server_name("a.test") == "a.test"


@pytest.mark.parametrize(
    "thumbprint", ["", "x" * 42, 'a";return 200 "' + "x" * 28, "x" * 42 + "\n"]
)
def test_a_rule_takes_nothing_but_a_thumbprint(thumbprint: str) -> None:
    with pytest.raises(ConfigError):
        http01_rule(Kind.NGINX, thumbprint)


def test_a_server_without_a_rule_is_told_what_to_do_instead() -> None:
    with pytest.raises(ConfigError) as caught:
        http01_rule(Kind.TRAEFIK, "x" * 43)
    assert "forward" in caught.value.hint


def test_the_iis_rule_is_well_formed_and_complete() -> None:
    import xml.etree.ElementTree as ElementTree

    rule = http01_rule(Kind.IIS, "x" * 43)
    root = ElementTree.fromstring(rule.partition("?>")[2])
    assert root.find("system.webServer/rewrite/outboundRules") is not None
    assert "@token@." + "x" * 43 in rule


@pytest.mark.parametrize("secret", ["not base64!", "a"])
def test_a_tsig_secret_that_is_no_base64_is_not_shown(secret: str) -> None:
    with pytest.raises(CredentialError) as caught:
        Tsig("key.", Secret(secret)).key()
    assert secret not in str(caught.value).replace("base64", "")


class FakeProvider:
    calls: list[tuple[Any, ...]]

    def __init__(self, config: Any) -> None:
        self.config = config

    def authenticate(self) -> None:
        if self.config.resolve("lexicon:fakedns:auth_token") != "t0ken":
            raise RuntimeError("GET https://api.test/?token=wr0ng failed")

    def create_record(self, *record: str) -> bool:
        type(self).calls.append(("create", self.config.resolve("lexicon:domain"), *record))
        return True

    def delete_record(self, *record: object) -> bool:
        return False


@pytest.fixture
def fake_provider(monkeypatch: pytest.MonkeyPatch) -> type[FakeProvider]:
    pytest.importorskip("lexicon")
    module = types.ModuleType("lexicon._private.providers.fakedns")
    FakeProvider.calls = []
    module.Provider = FakeProvider  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return FakeProvider


def test_lexicon_is_asked_for_the_whole_name_in_the_zone(fake_provider: type[FakeProvider]) -> None:
    writer = Lexicon("fakedns", "a.test", {"auth_token": Secret("t0ken")})
    asyncio.run(writer.add("_acme-challenge.www.a.test", "v"))
    assert fake_provider.calls == [("create", "a.test", "TXT", "_acme-challenge.www.a.test.", "v")]
    with pytest.raises(ChallengeFailed, match="did not change"):
        asyncio.run(writer.remove("_acme-challenge.www.a.test", "v"))


def test_what_a_provider_says_is_not_repeated_for_it_may_hold_the_token(
    fake_provider: type[FakeProvider],
) -> None:
    writer = Lexicon("fakedns", "a.test", {"auth_token": Secret("wr0ng")})
    with pytest.raises(ChallengeFailed) as caught:
        asyncio.run(writer.add("_acme-challenge.a.test", "v"))
    assert "wr0ng" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("provider", ["nosuchprovider", "../x", "os.path", ""])
def test_a_provider_that_does_not_exist_is_a_config_error(provider: str) -> None:
    with pytest.raises(ConfigError):
        asyncio.run(Lexicon(provider, "a.test", {}).add("x.a.test", "v"))

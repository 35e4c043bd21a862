"""What a CA sends, as our values: directory, order, challenge, ARI id, identifiers, links."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from certshelf.errors import BundleRefused, ConfigError, IssuerUnreachable, NameInvalid
from certshelf.issue.acme import csr, known
from certshelf.issue.acme.account import Account
from certshelf.issue.acme.ari import RenewalInfo, cert_id
from certshelf.issue.acme.challenge import read_challenge
from certshelf.issue.acme.directory import Directory, checked_url
from certshelf.issue.acme.identifiers import Identifier, identifiers
from certshelf.issue.acme.order import OrderStatus, read
from certshelf.issue.acme.response import Response

# RFC 9773 appendix A
RFC_9773_CERT = b"""-----BEGIN CERTIFICATE-----
MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt
cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS
BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu
7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf
qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B
yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb
+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK
-----END CERTIFICATE-----
"""
DIRECTORY = {
    name: f"https://ca.test/{name}"
    for name in ("newNonce", "newAccount", "newOrder", "revokeCert", "keyChange")
}


def test_the_ari_id_is_that_of_the_rfc_9773_example() -> None:
    leaf = x509.load_pem_x509_certificate(RFC_9773_CERT)
    assert cert_id(leaf) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"


def test_the_renewal_moment_lies_in_the_window() -> None:
    start = datetime(2030, 1, 1, tzinfo=UTC)
    info = RenewalInfo(start, start + timedelta(days=2), start)
    rng = random.Random(1)
    moments = {info.moment(rng) for _ in range(50)}
    assert all(info.start <= m < info.end for m in moments)
    assert len(moments) == 50


def test_a_directory_without_ari_and_profiles_says_so() -> None:
    directory = Directory.parse(DIRECTORY)
    assert (directory.renewal_info, directory.profiles) == ("", {})


def test_a_directory_tells_its_profiles_and_its_demand_for_a_binding() -> None:
    meta = {"profiles": {"classic": "as ever"}, "externalAccountRequired": True}
    directory = Directory.parse({**DIRECTORY, "meta": meta})
    assert directory.profiles == {"classic": "as ever"}
    assert directory.external_account_required


@pytest.mark.parametrize("document", [{}, {**DIRECTORY, "newOrder": 5}, {"error": "x"}])
def test_what_is_no_directory_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(IssuerUnreachable):
        Directory.parse(document)


@pytest.mark.parametrize(
    "url",
    ["http://ca.test/x", "file:///etc/passwd", "", None, 5, "https://", "//ca.test", "http://[::1"],
)
def test_only_https_is_asked(url: object) -> None:
    with pytest.raises(IssuerUnreachable):
        checked_url(url)


@pytest.mark.parametrize("url", ["https://ca.test/x", "http://127.0.0.1:1/x", "http://[::1]:1/x"])
def test_https_and_this_machine_are_asked(url: str) -> None:
    assert checked_url(url) == url


@pytest.mark.parametrize(
    "token", ["short", "x" * 129, "a" * 30 + "/", "../../../../../../etc/passwd", "<script>" * 4]
)
def test_a_token_that_is_no_base64url_never_gets_in(token: str) -> None:
    with pytest.raises(IssuerUnreachable):
        read_challenge({"type": "http-01", "url": "https://ca.test/c", "token": token})


@pytest.mark.parametrize("member", ["issuer-domain-names", "issuerDomainNames"])
def test_a_standing_record_challenge_has_no_token_but_issuers(member: str) -> None:
    challenge = read_challenge(
        {
            "type": "dns-persist-01",
            "url": "https://ca.test/c",
            "accounturi": "https://ca.test/a",
            member: ["ca.test"],
        }
    )
    assert (challenge.token, challenge.issuers) == ("", ("ca.test",))
    assert challenge.account_uri == "https://ca.test/a"


def test_a_challenge_is_presented_for_the_name_without_its_wildcard() -> None:
    account = Account("https://ca.test/a", ec.generate_private_key(ec.SECP256R1()))
    token = "t" * 43
    challenge = read_challenge({"type": "dns-01", "url": "https://ca.test/c", "token": token})
    shown = challenge.to_present(Identifier.parse("*.a.test"), account)
    assert (shown.domain, shown.key_authorization) == ("a.test", f"{token}.{account.thumbprint}")


def order_answer(**members: object) -> Response:
    import json

    document = {
        "status": "pending",
        "identifiers": [{"type": "dns", "value": "A.test"}],
        "authorizations": ["https://ca.test/z/1"],
        "finalize": "https://ca.test/f/1",
        **members,
    }
    body = json.dumps(document).encode()
    return Response("https://ca.test/new", 201, body, location="/o/1")


def test_an_order_is_read_with_its_absolute_url() -> None:
    order = read(order_answer(expires="2030-01-01T00:00:00Z"))
    assert order.url == "https://ca.test/o/1"
    assert order.status is OrderStatus.PENDING
    assert order.identifiers == (Identifier("dns", "a.test"),)
    assert order.expires == datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "members",
    [
        {"status": "done"},
        {"status": None},
        {"identifiers": "a"},
        {"identifiers": [{"type": "email", "value": "a"}]},
        {"authorizations": ["http://elsewhere.test/"]},
        {"finalize": None},
        {"expires": "tomorrow"},
    ],
)
def test_an_order_of_the_wrong_shape_is_nonsense_by_name(members: dict[str, object]) -> None:
    with pytest.raises(IssuerUnreachable):
        read(order_answer(**members))


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"\xff", b"[" * 100_000])
def test_an_answer_that_is_no_json_object_is_nonsense_by_name(body: bytes) -> None:
    with pytest.raises(IssuerUnreachable):
        Response("https://ca.test/o", 200, body).json()


def test_links_are_found_by_relation_in_one_header_or_many() -> None:
    response = Response(
        "https://ca.test/cert/1",
        200,
        b"",
        links=(
            '<https://ca.test/dir>;rel="index"',
            '</cert/1/1>;rel="alternate", <https://ca.test/cert/1/2>; rel=alternate',
        ),
    )
    assert response.related("alternate") == (
        "https://ca.test/cert/1/1",
        "https://ca.test/cert/1/2",
    )


def test_identifiers_are_names_wildcards_and_addresses_each_once() -> None:
    found = identifiers(
        ["WWW.a.test.", "www.a.test", "*.a.test", "bücher.test", "[::1]", "10.0.0.1"]
    )
    assert [(i.type, i.value) for i in found] == [
        ("dns", "www.a.test"),
        ("dns", "*.a.test"),
        ("dns", "xn--bcher-kva.test"),
        ("ip", "::1"),
        ("ip", "10.0.0.1"),
    ]


def test_a_hundred_names_are_one_order_and_one_more_is_not() -> None:
    assert len(identifiers(f"h{n}.test" for n in range(100))) == 100
    with pytest.raises(ConfigError):
        identifiers(f"h{n}.test" for n in range(101))
    with pytest.raises(ConfigError):
        identifiers([])
    with pytest.raises(NameInvalid):
        identifiers(["a b"])


def test_a_csr_asks_for_exactly_the_identifiers() -> None:
    wanted = identifiers(["a.test", "*.a.test", "10.0.0.1"])
    der = csr.build(ec.generate_private_key(ec.SECP256R1()), wanted)
    assert csr.names_of(x509.load_der_x509_csr(der)) == wanted


def test_a_ca_is_known_by_name_or_by_url() -> None:
    assert known.directory_url("LetsEncrypt").startswith("https://acme-v02.api.letsencrypt.org/")
    assert known.directory_url("https://ca.test/dir") == "https://ca.test/dir"
    with pytest.raises(ConfigError, match="buypass"):
        known.directory_url("buypass")
    with pytest.raises(ConfigError, match="no https URL"):
        known.directory_url("http://ca.test/dir")


def test_a_csr_of_somebody_else_is_refused_when_unsigned_or_without_names() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    bare = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    with pytest.raises(BundleRefused, match="no subject alternative names"):
        csr.names_of(bare.sign(key, hashes.SHA256()))
    der = bytearray(csr.build(key, identifiers(["a.test"])))
    der[-1] ^= 1
    with pytest.raises(BundleRefused, match="signature"):
        csr.names_of(x509.load_der_x509_csr(bytes(der)))

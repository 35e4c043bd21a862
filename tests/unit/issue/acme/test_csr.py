from __future__ import annotations

import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from tests.support.csrs import make_csr

from certshelf.errors import (
    BundleError,
    BundleRefused,
    ConfigError,
    KeyUnsupported,
    NameInvalid,
    PemUnreadable,
)
from certshelf.issue.acme import csr

ADDRESS = x509.IPAddress(ipaddress.ip_address("192.0.2.7"))


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_names_and_addresses_of_a_csr_are_read_in_either_form(encoding: Encoding) -> None:
    data = make_csr("WWW.a.test", ADDRESS, "*.a.test", encoding=encoding)
    assert [str(name) for name in csr.names_of(csr.read(data))] == [
        "www.a.test",
        "192.0.2.7",
        "*.a.test",
    ]


def test_text_around_the_csr_and_windows_line_ends_do_no_harm() -> None:
    data = b"Request for shop\r\n" + make_csr("a.test").replace(b"\n", b"\r\n") + b"\r\nbye"
    assert csr.read(data).is_signature_valid


def test_a_csr_whose_signature_is_wrong_is_refused() -> None:
    data = bytearray(make_csr("a.test", encoding=Encoding.DER))
    data[-1] ^= 1
    with pytest.raises(BundleError):
        csr.read(bytes(data))


def test_a_csr_for_another_name_under_the_old_signature_is_refused() -> None:
    data = make_csr("a.test", encoding=Encoding.DER).replace(b"a.test", b"b.test")
    with pytest.raises(BundleRefused, match="signature is wrong"):
        csr.read(data)


def test_a_csr_without_sans_is_refused_with_what_to_do() -> None:
    with pytest.raises(BundleRefused, match="no subject alternative names") as caught:
        csr.read(make_csr(common_name="a.test"))
    assert "SAN" in caught.value.hint


def test_a_common_name_that_is_no_san_is_refused() -> None:
    with pytest.raises(BundleRefused, match="common name"):
        csr.read(make_csr("a.test", common_name="b.test"))
    csr.read(make_csr("a.test", common_name="A.test"))


@pytest.mark.parametrize(
    "name",
    [x509.RFC822Name("a@a.test"), x509.UniformResourceIdentifier("https://a.test/")],
)
def test_a_name_that_no_order_takes_is_refused(name: x509.GeneralName) -> None:
    with pytest.raises(BundleRefused, match="type"):
        csr.read(make_csr("a.test", name))


@pytest.mark.parametrize("name", ["a..test", "-", "../../etc", "a b.test", "x" * 300 + ".test"])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(NameInvalid):
        csr.read(make_csr(name))


def test_a_csr_of_more_than_100_names_is_refused() -> None:
    with pytest.raises(ConfigError, match="101 names"):
        csr.read(make_csr(*(f"n{i}.test" for i in range(101))))


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 1024),
        ec.generate_private_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["rsa-1024", "p-521", "ed25519"],
)
def test_a_key_that_no_farm_serves_is_refused(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
) -> None:
    with pytest.raises(KeyUnsupported):
        csr.read(make_csr("a.test", key=key))


def test_two_csrs_no_csr_and_too_much_are_refused() -> None:
    for data in (make_csr("a.test") * 2, b"", b"-----BEGIN CERTIFICATE-----\nAAAA", b"x" * 70000):
        with pytest.raises(PemUnreadable):
            csr.read(data)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_damaged_bytes_end_in_a_clear_error(junk: bytes, at: int) -> None:
    whole = make_csr("a.test", encoding=Encoding.DER)
    for data in (junk, whole[:at], whole[:at] + junk + whole[at + len(junk) :]):
        try:
            csr.read(data)
        except (BundleError, NameInvalid, ConfigError):
            continue
        assert data == whole

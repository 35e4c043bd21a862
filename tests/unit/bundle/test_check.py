"""Is a bundle sound for a name now: each unsound one has its own reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.support.certificates import END, INSIDE, START, bundle, certificate, key

from certshelf.bundle.check import check
from certshelf.bundle.keys import KEY_TYPES, generate
from certshelf.bundle.model import Bundle
from certshelf.errors import BundleError, BundleRefused, KeyMismatch, KeyUnsupported
from certshelf.names import HostName

HOST = HostName.parse("www.example.test")
_CLIENT, _SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


def _self_signed(private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> Bundle:
    return Bundle(private, certificate("a", private, "a", private, names=["www.example.test"]))


@pytest.mark.parametrize(
    "made",
    [
        bundle("www.example.test"),
        bundle("other.test", "www.example.test"),
        bundle("*.example.test"),
        bundle("WWW.Example.TEST"),
        bundle("www.example.test", usages=None),
        bundle("www.example.test", usages=(_CLIENT, _SERVER)),
        bundle("www.example.test", key_type="ecdsa-p384"),
        bundle("www.example.test", key_type="rsa-2048"),
    ],
)
def test_a_sound_bundle_is_sound_from_its_first_second_to_its_last(made: Bundle) -> None:
    assert [check(made, HOST, now) for now in (START, INSIDE, END)] == [None] * 3


@pytest.mark.parametrize(
    ("make", "kind", "reason"),
    [
        (lambda: bundle("other.test"), BundleRefused, "does not cover www.example.test: it names"),
        (lambda: bundle("example.test"), BundleRefused, "does not cover"),
        (lambda: bundle("*.a.example.test"), BundleRefused, "does not cover"),
        (lambda: bundle("*.test"), BundleRefused, "does not cover"),
        (lambda: bundle("www.example.test", not_after=INSIDE - timedelta(1)), BundleRefused,
         "expired at 2026-01-10T00:00:00Z"),
        (lambda: bundle("www.example.test", not_before=INSIDE + timedelta(1)), BundleRefused,
         "not valid before 2026-01-12T00:00:00Z"),
        (lambda: bundle("www.example.test", ca=True), BundleRefused, "CA certificate"),
        (lambda: bundle("www.example.test", usages=(_CLIENT,)), BundleRefused, "serverAuth"),
        (lambda: Bundle(key(number=3), bundle("www.example.test").leaf), KeyMismatch,
         "does not belong"),
        (lambda: Bundle(key("rsa-2048"), bundle("www.example.test").leaf), KeyMismatch,
         "does not belong"),
        (lambda: _self_signed(rsa.generate_private_key(65537, 1024)), KeyUnsupported, "rsa-1024"),
        (lambda: _self_signed(ec.generate_private_key(ec.SECP521R1())), KeyUnsupported,
         "ecdsa-p521"),
    ],
)  # fmt: skip
def test_an_unsound_bundle_has_its_own_reason(
    make: Callable[[], Bundle], kind: type[BundleError], reason: str
) -> None:
    answer = check(make(), HOST, INSIDE)
    assert type(answer) is kind
    assert reason in str(answer)
    assert answer.hint


def test_a_certificate_without_names_covers_nothing() -> None:
    private = key()
    made = Bundle(private, certificate("www.example.test", private, "a", private))
    assert "names no host" in str(check(made, HOST, INSIDE))


def test_a_wildcard_file_needs_the_wildcard_itself() -> None:
    wildcard = HostName.parse("*.example.test")
    assert check(bundle("*.example.test"), wildcard, INSIDE) is None
    assert check(bundle("www.example.test"), wildcard, INSIDE) is not None


@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ecdsa-p384", "rsa-2048"])
def test_a_generated_key_is_of_the_type_that_was_asked_for(key_type: str) -> None:
    assert Bundle(key(key_type), bundle().leaf).key_type == key_type


@pytest.mark.parametrize("key_type", ["rsa-1024", "ed25519", "", "RSA-2048"])
def test_other_key_types_are_refused_with_the_list(key_type: str) -> None:
    with pytest.raises(KeyUnsupported) as caught:
        generate(key_type)
    assert all(known in caught.value.hint for known in KEY_TYPES)

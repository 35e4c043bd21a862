"""Keys, leaves and chains for tests: made once per key type, with every wrong form on demand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certshelf.bundle.keys import generate
from certshelf.bundle.model import Bundle, PrivateKey

START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(days=365)
INSIDE = START + timedelta(days=10)


def key(key_type: str = "ecdsa-p256", number: int = 0) -> PrivateKey:
    """A key of this type; the same number gives the same key within one run."""
    return _key(key_type, number)


@cache
def _key(key_type: str, number: int) -> PrivateKey:
    return generate(key_type)


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def certificate(
    subject: str,
    subject_key: PrivateKey,
    issuer: str,
    issuer_key: PrivateKey,
    *,
    names: Sequence[str] = (),
    ca: bool = False,
    usages: Sequence[x509.ObjectIdentifier] | None = (ExtendedKeyUsageOID.SERVER_AUTH,),
    not_before: datetime = START,
    not_after: datetime = END,
) -> x509.Certificate:
    """Any certificate, wrong ones too."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(subject_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if names:
        san = x509.SubjectAlternativeName([x509.DNSName(n) for n in names])
        builder = builder.add_extension(san, critical=False)
    if usages is not None and not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


@cache
def authorities() -> tuple[x509.Certificate, ...]:
    """The intermediate that signs leaves, the one above it, and the root, in this order."""
    root, upper, lower = (key(number=n) for n in (91, 92, 93))
    return (
        certificate("Lower", lower, "Upper", upper, ca=True),
        certificate("Upper", upper, "Root", root, ca=True),
        certificate("Root", root, "Root", root, ca=True),
    )


def leaf(
    *names: str, key_type: str = "ecdsa-p256", number: int = 0, **more: object
) -> x509.Certificate:
    """A leaf below authorities(), for the key of the same type and number."""
    return certificate(
        names[0],
        key(key_type, number),
        "Lower",
        key(number=93),
        names=names,
        **more,  # type: ignore[arg-type]
    )


def bundle(*names: str, key_type: str = "ecdsa-p256", number: int = 0, **more: object) -> Bundle:
    """A sound bundle for these names, valid from START to END, with both intermediates."""
    made = leaf(*(names or ("www.example.test",)), key_type=key_type, number=number, **more)
    return Bundle(key(key_type, number), made, authorities()[:2])

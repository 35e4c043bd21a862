"""Certificates for tests, made in a millisecond: a small CA and leaves of any age."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certshelf.bundle.model import Bundle, PrivateKey
from certshelf.names import HostName

CA_KEY = ec.generate_private_key(ec.SECP256R1())
_CA_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "certshelf tests")])
_CA_USAGE = x509.KeyUsage(False, False, False, False, False, True, True, False, False)


def _ca() -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(_CA_NAME)
        .issuer_name(_CA_NAME)
        .public_key(CA_KEY.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2090, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(CA_KEY.public_key()), critical=False
        )
        .add_extension(_CA_USAGE, critical=True)
        .sign(CA_KEY, hashes.SHA256())
    )


CA = _ca()


def make_bundle(
    *names: str,
    start: datetime | None = None,
    days: float = 30,
    key: PrivateKey | None = None,
    client: bool = False,
) -> Bundle:
    """A sound bundle for these names; start: its not-before, an hour ago by default.

    client: for a TLS client, not a server.
    """
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
    start = start or datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    key = key or ec.generate_private_key(ec.SECP256R1())
    sans = [x509.DNSName(HostName.parse(name).ascii) for name in names]
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(_CA_NAME)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(sans), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        # Python 3.13 verifies by the letter of RFC 5280 (VERIFY_X509_STRICT)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(CA_KEY.public_key()), critical=False
        )
        .sign(CA_KEY, hashes.SHA256())
    )
    return Bundle(key, leaf)

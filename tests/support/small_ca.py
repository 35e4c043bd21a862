"""A small CA for tests: bundles for any names, quickly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from certshelf.bundle.model import Bundle, PrivateKey
from certshelf.names import HostName


class SmallCa:
    """Signs leaves under one self-signed root."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "certshelf test CA")])
        self.root = self._sign(self._name, self._key, [], None, 3650)
        self._issued = 0

    def issue(self, *names: str, rsa_key: bool = False, days: int = 90) -> Bundle:
        """A bundle for these names (U-labels too); each one is newer than the one before."""
        key: PrivateKey
        if rsa_key:
            key = rsa.generate_private_key(65537, 2048)
        else:
            key = ec.generate_private_key(ec.SECP256R1())
        self._issued += 1
        ascii_names = [HostName.parse(name).ascii for name in names]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ascii_names[0][:64])])
        leaf = self._sign(subject, key, ascii_names, self._issued, days)
        return Bundle(key, leaf)

    def _sign(
        self,
        subject: x509.Name,
        key: PrivateKey,
        names: list[str],
        issued: int | None,
        days: int,
    ) -> x509.Certificate:
        start = datetime.now(UTC) - timedelta(days=1) + timedelta(seconds=issued or 0)
        builder = (
            x509.CertificateBuilder(self._name, subject, key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=days))
            .add_extension(x509.BasicConstraints(issued is None, None), critical=True)
        )
        if names:
            san = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            builder = builder.add_extension(san, critical=False)
        return builder.sign(self._key, SHA256())

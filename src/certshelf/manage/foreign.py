"""Certificates for somebody else's CSR: the key is not ours, so no shelf can hold them."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certshelf.bundle.model import key_type
from certshelf.errors import BundleRefused, ConfigError, PemUnreadable
from certshelf.issue.acme import csr
from certshelf.manage.model import ManagedCertificate, Mode
from certshelf.manage.wish import sorted_out

_SPKI = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def read_csr_file(file: Path) -> bytes:
    """What is in a CSR's file, not judged yet; PemUnreadable when it cannot be read."""
    try:
        with file.open("rb") as stream:
            return stream.read(csr.MAX_BYTES + 1)
    except OSError as error:
        raise PemUnreadable(f"cannot read {file}: {error.strerror}") from error


def with_csr(wish: ManagedCertificate, data: bytes) -> ManagedCertificate:
    """The wish for what a CSR (PEM or DER) asks for: its names and its key's type.

    Raises what csr.read() raises.
    """
    found = csr.read(data)
    hosts, addresses = sorted_out(map(str, csr.names_of(found)))
    key = found.public_key()
    assert isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey))  # noqa: S101 - read() saw
    text = found.public_bytes(Encoding.PEM).decode()
    return replace(wish, hosts=hosts, addresses=addresses, key_type=key_type(key), csr=text)


def require_fit(wish: ManagedCertificate) -> None:
    """ConfigError for a wish that says other than its CSR, or wants it on a shelf."""
    asked = with_csr(wish, wish.csr.encode())
    if set(asked.names) != set(wish.names) or asked.key_type != wish.key_type:
        raise ConfigError(
            f"{wish.name}: hosts and key are those of its CSR: {', '.join(asked.names[:5])}, "
            f"{asked.key_type}",
            hint=f"for others give another CSR: certshelf cert edit {wish.name} --csr FILE",
        )
    if wish.mode is Mode.SHELF_ONLY or wish.groups:
        raise ConfigError(
            f"{wish.name} is for a CSR: its key is not ours, and no shelf can hold it",
            hint="--mode auto runs its tasks, --mode none does nothing more; no --group",
        )


def der_of(wish: ManagedCertificate) -> bytes:
    """The CSR in DER."""
    return csr.read(wish.csr.encode()).public_bytes(Encoding.DER)


def require_same_key(leaf: x509.Certificate, sent: str) -> None:
    """BundleRefused when a leaf is for another key than that of the CSR that was sent (base64)."""
    asked = x509.load_der_x509_csr(base64.b64decode(sent)).public_key()
    if leaf.public_key().public_bytes(*_SPKI) != asked.public_bytes(*_SPKI):
        raise BundleRefused("the certificate is for another key than the CSR's")

"""Certificate signing requests: ours, which finalise orders (RFC 8555 7.4), and others' to read."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from certshelf.bundle.keys import KEY_TYPES, accepted
from certshelf.bundle.model import PrivateKey
from certshelf.errors import BundleRefused, KeyUnsupported, PemUnreadable
from certshelf.issue.acme.identifiers import Identifier, identifiers

MAX_BYTES = 64 * 1024
_BLOCK = re.compile(
    rb"-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]{1,65536})"
    rb"-----END (?:NEW )?CERTIFICATE REQUEST-----"
)
_KEYS = "one of " + ", ".join(KEY_TYPES)
_COMMON_NAME = NameOID.COMMON_NAME
_NO_EXTENSION = (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)


def build(key: PrivateKey, identifiers: Iterable[Identifier]) -> bytes:
    """A CSR in DER with these names as its SANs and an empty subject: CAs read no more."""
    names = x509.SubjectAlternativeName([i.as_san() for i in identifiers])
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


def read(data: bytes) -> x509.CertificateSigningRequest:
    """Somebody else's CSR, in PEM or DER, hostile ones too: read and judged, not trusted.

    Raises PemUnreadable for what is none, BundleRefused for a wrong signature or a CSR of no use
    here, KeyUnsupported for a key that no server of a farm serves, NameInvalid for a bad name.
    """
    if len(data) > MAX_BYTES:
        raise PemUnreadable(f"a CSR of more than {MAX_BYTES:,} bytes is not read")
    blocks = _BLOCK.findall(data)
    if len(blocks) > 1 or (not blocks and b"-----BEGIN" in data):
        raise PemUnreadable(f"{len(blocks)} CSRs in the text", hint="give a file with one CSR")
    try:
        der = base64.b64decode(blocks[0]) if blocks else data
        csr = x509.load_der_x509_csr(der)
        key = csr.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise PemUnreadable("no CSR (PKCS#10), or a damaged one") from error
    if not isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)) or not accepted(key):
        raise KeyUnsupported("the CSR's key is of no type that is issued here", hint=_KEYS)
    names_of(csr)
    return csr


def names_of(csr: x509.CertificateSigningRequest) -> tuple[Identifier, ...]:
    """The identifiers that somebody else's CSR asks for: an order must name exactly these.

    Raises BundleRefused for a wrong signature, no names, or names of a kind that no ACME order
    takes; NameInvalid for a name that is none.
    """
    try:
        is_signed = csr.is_signature_valid
    except (ValueError, UnsupportedAlgorithm):
        is_signed = False
    if not is_signed:
        raise BundleRefused("the CSR's signature is wrong", hint="make the CSR again")
    try:
        san = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        common = [str(name.value) for name in csr.subject.get_attributes_for_oid(_COMMON_NAME)]
    except (ValueError, TypeError, *_NO_EXTENSION) as error:
        raise BundleRefused(
            "the CSR has no subject alternative names", hint="add the host names as SANs"
        ) from error
    others = [name for name in san if not isinstance(name, (x509.DNSName, x509.IPAddress))]
    if others:
        raise BundleRefused(
            f"the CSR asks for a name of type {type(others[0]).__name__}",
            hint="host names and IP addresses only",
        )
    found = identifiers(str(name.value) for name in san)
    for text in common:  # CAs take it for one more name
        if Identifier.parse(text) not in found:
            raise BundleRefused(
                "the CSR's common name is not among its subject alternative names",
                hint="make it again without a common name, or with that name as a SAN, too",
            )
    return found

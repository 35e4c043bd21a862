"""The certificate signing request that finalises an order (RFC 8555 section 7.4)."""

from __future__ import annotations

from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from certshelf.bundle.model import PrivateKey
from certshelf.errors import BundleRefused
from certshelf.issue.acme.identifiers import Identifier


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


def names_of(csr: x509.CertificateSigningRequest) -> tuple[Identifier, ...]:
    """The identifiers that somebody else's CSR asks for: an order must name exactly these.

    Raises BundleRefused for a wrong signature or no names; NameInvalid for a name that is none.
    """
    if not csr.is_signature_valid:
        raise BundleRefused("the CSR's signature is wrong", hint="make the CSR again")
    try:
        san = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError) as error:
        raise BundleRefused(
            "the CSR has no subject alternative names", hint="add the host names as SANs"
        ) from error
    dns = san.get_values_for_type(x509.DNSName)
    addresses = san.get_values_for_type(x509.IPAddress)
    return tuple(Identifier.parse(str(name)) for name in (*dns, *addresses))

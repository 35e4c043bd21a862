"""Which of the certificates is the leaf, and in which order the others belong behind it."""

from __future__ import annotations

from collections.abc import Iterable

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certshelf.bundle.model import Bundle, PrivateKey
from certshelf.errors import KeyMismatch, KeyUnsupported


def assemble(
    key: object, certificates: Iterable[x509.Certificate], friendly_name: str = ""
) -> Bundle:
    """One key and certificates in any order, as a Bundle: the first that fits the key is the leaf.

    Roots and certificates that are no part of the leaf's chain are left out.
    Raises KeyUnsupported for a key that is neither RSA nor ECDSA, KeyMismatch when no certificate
    fits the key, ValueError when a certificate cannot be parsed.
    """
    if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
        kind = type(key).__name__.removesuffix("PrivateKey")
        raise KeyUnsupported(
            f"a private key of type {kind}", hint="RSA and ECDSA keys can be served by every server"
        )
    found = tuple(certificates)
    leaf = next((c for c in found if key_matches(key, c)), None)
    if leaf is None:
        what = f"none of its {len(found)} certificates" if found else "no certificate"
        raise KeyMismatch(
            f"the private key has {what} that fits it",
            hint="put the certificate that was issued for this key into the same file",
        )
    return Bundle(key, leaf, order_chain(leaf, found), friendly_name)


def key_matches(key: PrivateKey, certificate: x509.Certificate) -> bool:
    """Whether the certificate was issued for this private key."""
    try:
        public = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False  # a key of a kind that no Bundle carries
    if not isinstance(public, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey)):
        return False
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return public.public_bytes(*form) == key.public_key().public_bytes(*form)


def order_chain(
    leaf: x509.Certificate, certificates: Iterable[x509.Certificate]
) -> tuple[x509.Certificate, ...]:
    """The intermediates in issuer order: the leaf's issuer first, never a root or a stranger."""
    left = [c for c in certificates if c != leaf and not is_self_issued(c)]
    chain: list[x509.Certificate] = []
    last = leaf
    while not is_self_issued(last):
        issuer = next((c for c in left if _issued(c, last)), None)
        if issuer is None:
            break
        left.remove(issuer)
        chain.append(issuer)
        last = issuer
    return tuple(chain)


def is_self_issued(certificate: x509.Certificate) -> bool:
    """Whether subject and issuer are the same, as they are in a root."""
    return certificate.subject == certificate.issuer


def _issued(issuer: x509.Certificate, child: x509.Certificate) -> bool:
    """Whether issuer signed child: the name, then the signature itself."""
    if issuer.subject != child.issuer:
        return False
    try:
        child.verify_directly_issued_by(issuer)
    except UnsupportedAlgorithm:
        return True  # a signature that cannot be checked here: the name has to do
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True

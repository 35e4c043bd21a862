"""New private keys, of the types that certshelf publishes."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certshelf.bundle.model import PrivateKey, key_type
from certshelf.errors import KeyUnsupported

_RSA = {f"rsa-{bits}": bits for bits in (2048, 3072, 4096)}
_CURVES: dict[str, type[ec.EllipticCurve]] = {
    "ecdsa-p256": ec.SECP256R1,
    "ecdsa-p384": ec.SECP384R1,
}
KEY_TYPES = (*_CURVES, *_RSA)


def generate(key_type: str) -> PrivateKey:
    """A new private key. key_type: one of KEY_TYPES. Raises KeyUnsupported for any other."""
    if key_type in _CURVES:
        return ec.generate_private_key(_CURVES[key_type]())
    if key_type in _RSA:
        return rsa.generate_private_key(public_exponent=65537, key_size=_RSA[key_type])
    raise KeyUnsupported(f"no key type {key_type[:40]!r}", hint="one of " + ", ".join(KEY_TYPES))


def accepted(key: PrivateKey | rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bool:
    """Whether every server of a farm can serve this key: RSA of 2048 to 4096 bits, P-256, P-384."""
    if isinstance(key, (rsa.RSAPrivateKey, rsa.RSAPublicKey)):
        return 2048 <= key.key_size <= 4096
    return key_type(key) in _CURVES

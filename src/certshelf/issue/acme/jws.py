"""JSON Web Signatures as ACME wants them: flattened, ES256, ES384 or RS256, and HS256 for EAB.

Sources: RFC 7515 (JWS), RFC 7517 and 7518 (keys, algorithms), RFC 7638 (thumbprint),
RFC 8555 section 6.2 (which headers ACME demands).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from certshelf.bundle.model import PrivateKey
from certshelf.errors import CredentialError, KeyUnsupported
from certshelf.secret import Secret

_CURVES: dict[str, tuple[str, str, int]] = {
    # OpenSSL's name: JOSE curve, algorithm, bytes of a coordinate
    "secp256r1": ("P-256", "ES256", 32),
    "secp384r1": ("P-384", "ES384", 48),
}


def b64(data: bytes) -> str:
    """Base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unb64(text: str) -> bytes:
    """The bytes of base64url text, padded or not. Raises ValueError for anything else."""
    raw = text.rstrip("=").encode("ascii")
    try:
        return base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def jwk(key: PrivateKey) -> dict[str, str]:
    """The public half of an account key as a JSON Web Key, members in RFC 7638's order."""
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return {"e": _integer(numbers.e), "kty": "RSA", "n": _integer(numbers.n)}
    curve, _, size = _curve(key)
    point = key.public_key().public_numbers()
    return {
        "crv": curve,
        "kty": "EC",
        "x": b64(point.x.to_bytes(size, "big")),
        "y": b64(point.y.to_bytes(size, "big")),
    }


def thumbprint(key: PrivateKey) -> str:
    """The key's RFC 7638 thumbprint: what every key authorization ends in; public."""
    text = json.dumps(jwk(key), separators=(",", ":"), sort_keys=True)
    return b64(hashlib.sha256(text.encode()).digest())


def sign(key: PrivateKey, header: Mapping[str, object], payload: bytes) -> dict[str, str]:
    """A flattened JWS over payload; `alg` is chosen by the key and put first in header."""
    protected = _encode({"alg": algorithm(key), **header})
    body = b64(payload)
    signature = _signature(key, f"{protected}.{body}".encode())
    return {"protected": protected, "payload": body, "signature": b64(signature)}


def bind(kid: str, mac_key: Secret, url: str, account_jwk: Mapping[str, str]) -> dict[str, str]:
    """The externalAccountBinding of RFC 8555 section 7.3.4: the account key, under the CA's MAC.

    mac_key: base64url, as CAs hand it out. Raises CredentialError when it is not.
    """
    try:
        secret = unb64(mac_key.reveal().strip())
    except ValueError as error:
        raise CredentialError(
            f"the EAB key {kid!r} is not base64url",
            hint="copy it again from the CA's page: letters, digits, '-' and '_'",
        ) from error
    protected = _encode({"alg": "HS256", "kid": kid, "url": url})
    body = b64(json.dumps(account_jwk).encode())
    mac = hmac.digest(secret, f"{protected}.{body}".encode(), "sha256")
    return {"protected": protected, "payload": body, "signature": b64(mac)}


def algorithm(key: PrivateKey) -> str:
    """The JOSE algorithm that this key signs with."""
    if isinstance(key, rsa.RSAPrivateKey):
        return "RS256"
    return _curve(key)[1]


def _signature(key: PrivateKey, message: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    _, alg, size = _curve(key)
    digest: hashes.HashAlgorithm = hashes.SHA256() if alg == "ES256" else hashes.SHA384()
    r, s = utils.decode_dss_signature(key.sign(message, ec.ECDSA(digest)))
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def _curve(key: ec.EllipticCurvePrivateKey) -> tuple[str, str, int]:
    try:
        return _CURVES[key.curve.name]
    except KeyError:
        raise KeyUnsupported(
            f"an ACME account key on curve {key.curve.name} is not accepted by CAs",
            hint="use ecdsa-p256, ecdsa-p384 or RSA",
        ) from None


def _integer(number: int) -> str:
    return b64(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _encode(header: Mapping[str, object]) -> str:
    return b64(json.dumps(header, separators=(",", ":")).encode())

"""A bundle as PEM text and back: one key and its certificates, in any order."""

from __future__ import annotations

import re

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from certshelf.bundle.chain import assemble
from certshelf.bundle.inspect import MAX_BAGS, MAX_BYTES
from certshelf.bundle.model import Bundle
from certshelf.errors import PemUnreadable
from certshelf.secret import Secret

_BLOCK = re.compile(
    rb"-----BEGIN ([A-Z0-9 ]{1,40})-----\r?\n[A-Za-z0-9+/=\s:,-]{0,1048576}?\n-----END \1-----"
)
_CERTIFICATES = (b"CERTIFICATE", b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE")


def encode(bundle: Bundle, password: Secret | None = None) -> bytes:
    """Key (PKCS#8), leaf and chain, in this order; the key encrypted when there is a password."""
    encryption = BestAvailableEncryption(password.reveal_bytes()) if password else NoEncryption()
    key = bundle.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return key + b"".join(c.public_bytes(Encoding.PEM) for c in (bundle.leaf, *bundle.chain))


def decode(data: bytes, password: Secret | None = None, *, is_tested: bool = False) -> Bundle:
    """Read one private key and its certificates, in any order.

    password: of an encrypted key. is_tested: another process of ours has tested the key's primes,
    which takes 30 ms for RSA 2048 and 200 ms for RSA 4096.
    Raises PemUnreadable, KeyMismatch or KeyUnsupported.
    """
    if len(data) > MAX_BYTES:
        raise PemUnreadable(f"a text of {len(data):,} bytes: at most {MAX_BYTES:,} are read")
    keys, certificates = _blocks(data)
    if len(keys) != 1:
        what = f"{len(keys)} private keys" if keys else "no private key"
        raise PemUnreadable(f"{what} in the PEM text", hint="one key with its certificates")
    if not certificates:
        raise PemUnreadable("no certificate in the PEM text", hint="append the certificate to it")
    if len(certificates) > MAX_BAGS:
        raise PemUnreadable(f"{len(certificates)} certificates in the PEM text: at most {MAX_BAGS}")
    try:
        return assemble(
            _key(keys[0], password, is_tested),
            [x509.load_pem_x509_certificate(c) for c in certificates],
        )
    except ValueError as error:
        raise PemUnreadable(f"a certificate in the PEM text cannot be parsed: {error}") from error


def _blocks(data: bytes) -> tuple[list[bytes], list[bytes]]:
    keys, certificates = [], []
    for block in _BLOCK.finditer(data):
        label = block.group(1)
        if label.endswith(b"PRIVATE KEY"):
            keys.append(block.group(0))
        elif label in _CERTIFICATES:
            certificates.append(block.group(0))
    return keys, certificates


def _key(block: bytes, password: Secret | None, is_tested: bool) -> object:
    encrypted = b"ENCRYPTED" in block
    if encrypted and not password:
        raise PemUnreadable(
            "the private key in the PEM text is encrypted", hint="give its password"
        )
    try:
        secret = password.reveal_bytes() if password and encrypted else None
        return load_pem_private_key(block, secret, unsafe_skip_rsa_key_validation=is_tested)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        what = "wrong password or damaged" if encrypted else "damaged"
        raise PemUnreadable(f"the private key in the PEM text cannot be read: {what}") from error

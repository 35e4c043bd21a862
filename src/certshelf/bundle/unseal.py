"""Opens the encrypted content of a PFX, so that what it hides is counted before the library reads.

Only to look: what is served is still what the library reads. Everything here is bounded by
inspect.py's limits: the rounds before, the sizes by the file's own.
Sources: RFC 7292 appendices B and C, RFC 8018 section 6.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from cryptography.hazmat.decrepit.ciphers import algorithms as old
from cryptography.hazmat.primitives.ciphers import Cipher, CipherAlgorithm, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.padding import PKCS7

from certshelf.bundle import algorithms as alg
from certshelf.bundle.der import SEQUENCE, Reader
from certshelf.bundle.inspect import Sealed
from certshelf.bundle.rc2 import decrypt_cbc as rc2_cbc
from certshelf.errors import PfxHostile, PfxUnreadable

_KEY, _VECTOR = 1, 2  # what the key derivation is asked for (RFC 7292 appendix B.3)
_PBES2_KEYS = {"AES-128-CBC": 16, "AES-192-CBC": 24, "AES-256-CBC": 32, "3DES-CBC": 24}
_PBE_KEYS = {"RC4-128": 16, "RC4-40": 5, "3DES": 24, "3DES-2KEY": 16, "RC2-128": 16, "RC2-40": 5}


def unseal(sealed: Sealed, password: bytes | None) -> list[bytes]:
    """What the content is by each form of the password that fits; nothing when none does.

    password: UTF-8; None or empty for a file without one, which has two forms in PKCS#12.
    """
    attempts = _by_pbes2 if sealed.oids[0] == alg.PBES2 else _by_pkcs12
    found = []
    for form in _forms(sealed, password):
        try:
            plain = attempts(sealed, form)
        except ValueError:  # no padding where it should be: the wrong password
            continue
        if _is_sequence(plain):
            found.append(plain)
    return found


def _forms(sealed: Sealed, password: bytes | None) -> list[bytes]:
    if sealed.oids[0] == alg.PBES2:
        return [password or b""]
    text = (password or b"").decode()
    with_end = (text + "\0").encode("utf-16-be")
    return [with_end] if text else [with_end, b""]


def _is_sequence(plain: bytes) -> bool:
    try:
        return Reader().read(memoryview(plain)).tag == SEQUENCE
    except (PfxUnreadable, PfxHostile):
        return False


def _by_pbes2(sealed: Sealed, password: bytes) -> bytes:
    _, _, prf, cipher = sealed.oids
    name = alg.CIPHERS[cipher]
    digest, length = alg.PRFS[prf].lower(), _PBES2_KEYS[name]
    key = hashlib.pbkdf2_hmac(digest, password, sealed.salt, sealed.rounds, length)
    make: Callable[[bytes], CipherAlgorithm] = AES if name.startswith("AES") else old.TripleDES
    return _cbc(make(key), sealed.iv, sealed.content)


def _by_pkcs12(sealed: Sealed, password: bytes) -> bytes:
    name = alg.PKCS12_PBE[sealed.oids[0]]
    key = _derive(_KEY, sealed, password, _PBE_KEYS[name])
    if name.startswith("RC4"):
        return Cipher(old.ARC4(key), None).decryptor().update(sealed.content)
    vector = _derive(_VECTOR, sealed, password, 8)
    if not name.startswith("RC2"):
        return _cbc(old.TripleDES(key), vector, sealed.content)
    return _unpadded(rc2_cbc(key, vector, sealed.content), 8)


def _cbc(cipher: CipherAlgorithm, vector: bytes, content: bytes) -> bytes:
    decryptor = Cipher(cipher, modes.CBC(vector)).decryptor()
    return _unpadded(decryptor.update(content) + decryptor.finalize(), len(vector))


def _unpadded(plain: bytes, block: int) -> bytes:
    unpadder = PKCS7(block * 8).unpadder()
    return unpadder.update(plain) + unpadder.finalize()


def _derive(purpose: int, sealed: Sealed, password: bytes, length: int) -> bytes:
    """The key derivation of PKCS#12 with SHA-1 (RFC 7292 appendix B.2)."""
    block, sha1 = 64, hashlib.sha1
    salt, secret = _filled(sealed.salt, block), _filled(password, block)
    mixed, made = bytearray(salt + secret), b""
    while True:
        digest = sha1(bytes([purpose]) * block + mixed).digest()
        for _ in range(sealed.rounds - 1):
            digest = sha1(digest).digest()
        made += digest
        if len(made) >= length:
            return made[:length]
        add = int.from_bytes(_filled(digest, block)[:block], "big") + 1
        for at in range(0, len(mixed), block):
            total = int.from_bytes(mixed[at : at + block], "big") + add
            mixed[at : at + block] = (total % (1 << (8 * block))).to_bytes(block, "big")


def _filled(data: bytes, block: int) -> bytes:
    """The data again and again, until the last block is full."""
    size = -(-len(data) // block) * block
    return (data * (size // len(data) + 1))[:size] if data else b""

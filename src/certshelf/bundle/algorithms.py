"""The algorithms that a PFX may name: their object identifiers, and what this machine can read.

Sources: RFC 7292 appendix C (PKCS#12), RFC 8018 appendix B (PKCS#5), RFC 9579 (PBMAC1).
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.backends.openssl import backend
from cryptography.hazmat.primitives.ciphers import Cipher, modes

PBES2 = "1.2.840.113549.1.5.13"
PBKDF2 = "1.2.840.113549.1.5.12"
PBMAC1 = "1.2.840.113549.1.5.14"
HMAC_SHA1 = "1.2.840.113549.2.7"
HMAC_SHA256 = "1.2.840.113549.2.9"
AES_256_CBC = "2.16.840.1.101.3.4.1.42"
SHA1 = "1.3.14.3.2.26"
SHA256 = "2.16.840.1.101.3.4.2.1"
PBE_3DES = "1.2.840.113549.1.12.1.3"

# Encryption with the key derivation of PKCS#12 itself.
PKCS12_PBE = {
    "1.2.840.113549.1.12.1.1": "RC4-128",
    "1.2.840.113549.1.12.1.2": "RC4-40",
    PBE_3DES: "3DES",
    "1.2.840.113549.1.12.1.4": "3DES-2KEY",
    "1.2.840.113549.1.12.1.5": "RC2-128",
    "1.2.840.113549.1.12.1.6": "RC2-40",
}
RC2 = frozenset({"1.2.840.113549.1.12.1.5", "1.2.840.113549.1.12.1.6"})
CIPHERS = {
    "2.16.840.1.101.3.4.1.2": "AES-128-CBC",
    "2.16.840.1.101.3.4.1.22": "AES-192-CBC",
    AES_256_CBC: "AES-256-CBC",
    "1.2.840.113549.3.7": "3DES-CBC",
}
PRFS = {
    HMAC_SHA1: "SHA1",
    "1.2.840.113549.2.8": "SHA224",
    HMAC_SHA256: "SHA256",
    "1.2.840.113549.2.10": "SHA384",
    "1.2.840.113549.2.11": "SHA512",
}
DIGESTS = {
    SHA1: "SHA1",
    "2.16.840.1.101.3.4.2.4": "SHA224",
    SHA256: "SHA256",
    "2.16.840.1.101.3.4.2.2": "SHA384",
    "2.16.840.1.101.3.4.2.3": "SHA512",
}
_LEGACY = frozenset(PKCS12_PBE) - {PBE_3DES, "1.2.840.113549.1.12.1.4"}
# Known by name only, so that an error can say what it is.
OTHERS = {
    "1.3.6.1.4.1.11591.4.11": "scrypt",
    "1.2.840.113549.1.5.3": "PBES1 MD5 DES",
    "1.2.840.113549.1.5.10": "PBES1 SHA1 DES",
    "1.2.840.113549.2.5": "MD5",
    PBES2: "PBES2",
    PBMAC1: "PBMAC1",
}


def readable(oids: tuple[str, ...]) -> bool:
    """Whether the library on this machine can use every one of these algorithms."""
    if PBMAC1 in oids and backend.openssl_version_number() < 0x30400000:
        return False
    if not _LEGACY.isdisjoint(oids) and not _has_legacy():
        return False
    frames = {PBES2, PBKDF2, PBMAC1}
    known = frames | set(PKCS12_PBE) | set(CIPHERS) | set(PRFS) | set(DIGESTS)
    return known.issuperset(oids)


def name_of(oid: str) -> str:
    """What people call the algorithm, or its object identifier."""
    for table in (PKCS12_PBE, CIPHERS, PRFS, DIGESTS, OTHERS):
        if oid in table:
            return table[oid]
    return oid


def _has_legacy() -> bool:
    """Whether OpenSSL's legacy provider (RC2, RC4) is there: a hardened system leaves it out."""
    try:
        from cryptography.hazmat.decrepit.ciphers.algorithms import RC2

        Cipher(RC2(bytes(16)), modes.CBC(bytes(8))).decryptor()
    except (ImportError, UnsupportedAlgorithm):
        return False
    return True

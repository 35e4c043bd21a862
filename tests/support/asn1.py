"""Writes PFX files piece by piece, wrong and hostile ones too, as no library would (RFC 7292)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

_SALT = bytes(range(16))
_ROUNDS = 2_048


def tlv(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body)
    if size < 0x80:
        return bytes([tag, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def indefinite(tag: int, *parts: bytes) -> bytes:
    return bytes([tag, 0x80]) + b"".join(parts) + b"\0\0"


def seq(*parts: bytes) -> bytes:
    return tlv(0x30, *parts)


def octets(body: bytes) -> bytes:
    return tlv(0x04, body)


def octets_in_pieces(body: bytes, size: int = 100) -> bytes:
    return indefinite(0x24, *(octets(body[i : i + size]) for i in range(0, len(body), size)))


def integer(number: int) -> bytes:
    return tlv(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))


def oid(text: str) -> bytes:
    first, second, *rest = map(int, text.split("."))
    body = b""
    for arc in (first * 40 + second, *rest):
        chunk = [arc & 0x7F]
        while arc := arc >> 7:
            chunk.append(arc & 0x7F | 0x80)
        body += bytes(reversed(chunk))
    return tlv(0x06, body)


def _bag(kind: int, value: bytes) -> bytes:
    return seq(oid(f"1.2.840.113549.1.12.10.1.{kind}"), tlv(0xA0, value))


def key_bag(pkcs8: bytes) -> bytes:
    return _bag(1, pkcs8)


def cert_bag(certificate: bytes) -> bytes:
    return _bag(3, seq(oid("1.2.840.113549.1.9.22.1"), tlv(0xA0, octets(certificate))))


def nested_bag(bags: Iterable[bytes]) -> bytes:
    return _bag(6, seq(*bags))


def shrouded_bag(pkcs8: bytes, password: bytes, claimed_rounds: int | None = None) -> bytes:
    algorithm, content = _pbes2(pkcs8, password, claimed_rounds)
    return _bag(2, seq(algorithm, octets(content)))


def scrypt_bag(pkcs8: bytes) -> bytes:
    """A key that says it is encrypted below scrypt with a cost of 2^30: never to be derived."""
    kdf = seq(
        oid("1.3.6.1.4.1.11591.4.11"), seq(octets(_SALT), integer(2**30), integer(8), integer(64))
    )
    scheme = seq(oid("1.2.840.113549.1.5.13"), seq(kdf, _aes(bytes(16))))
    return _bag(2, seq(scheme, octets(bytes(len(pkcs8) // 16 * 16))))


def data(bags: Iterable[bytes], *, ber: bool = False) -> bytes:
    """A ContentInfo in clear."""
    content = octets_in_pieces(seq(*bags)) if ber else octets(seq(*bags))
    wrap = indefinite if ber else tlv
    return wrap(0x30, oid("1.2.840.113549.1.7.1"), wrap(0xA0, content))


def encrypted(bags: Iterable[bytes], password: bytes, claimed_rounds: int | None = None) -> bytes:
    """A ContentInfo that is encrypted."""
    algorithm, content = _pbes2(seq(*bags), password, claimed_rounds)
    info = seq(oid("1.2.840.113549.1.7.1"), algorithm, tlv(0x80, content))
    return seq(oid("1.2.840.113549.1.7.6"), tlv(0xA0, seq(integer(0), info)))


def pfx(
    contents: Iterable[bytes],
    password: bytes | None = None,
    *,
    claimed_rounds: int | None = None,
    pbmac1: bool = False,
    ber: bool = False,
) -> bytes:
    """The whole file, with a MAC when there is a password."""
    safe = seq(*contents)
    content = octets_in_pieces(safe) if ber else octets(safe)
    wrap = indefinite if ber else tlv
    parts = [integer(3), wrap(0x30, oid("1.2.840.113549.1.7.1"), wrap(0xA0, content))]
    if password is not None:
        make = _pbmac1 if pbmac1 else _mac
        parts.append(make(safe, password, claimed_rounds))
    return wrap(0x30, *parts)


def _mac(safe: bytes, password: bytes, claimed_rounds: int | None) -> bytes:
    key = _pkcs12_kdf(password, 3, _ROUNDS)
    digest = hmac.digest(key, safe, "sha256")
    info = seq(seq(oid("2.16.840.1.101.3.4.2.1"), tlv(0x05)), octets(digest))
    return seq(info, octets(_SALT), integer(_ROUNDS if claimed_rounds is None else claimed_rounds))


def _pkcs12_kdf(password: bytes, purpose: int, rounds: int) -> bytes:
    """RFC 7292 appendix B.2 for SHA-256 and one block of output."""
    text = (password.decode() + "\0").encode("utf-16-be")
    block = 64
    fill = [(part * block)[: -(-len(part) // block) * block] for part in (_SALT, text)]
    digest = hashlib.sha256(bytes([purpose]) * block + b"".join(fill)).digest()
    for _ in range(rounds - 1):
        digest = hashlib.sha256(digest).digest()
    return digest


def _pbmac1(safe: bytes, password: bytes, claimed_rounds: int | None) -> bytes:
    """RFC 9579."""
    key = hashlib.pbkdf2_hmac("sha256", password, _SALT, _ROUNDS, 32)
    digest = hmac.digest(key, safe, "sha256")
    rounds = _ROUNDS if claimed_rounds is None else claimed_rounds
    hmac_sha256 = seq(oid("1.2.840.113549.2.9"), tlv(0x05))
    kdf = seq(
        oid("1.2.840.113549.1.5.12"),
        seq(octets(_SALT), integer(rounds), integer(32), hmac_sha256),
    )
    algorithm = seq(oid("1.2.840.113549.1.5.14"), seq(kdf, hmac_sha256))
    return seq(seq(algorithm, octets(digest)), octets(b"NOT USED"), integer(1))


def _pbes2(content: bytes, password: bytes, claimed_rounds: int | None) -> tuple[bytes, bytes]:
    """AlgorithmIdentifier and ciphertext; claimed_rounds are written but not done."""
    key = hashlib.pbkdf2_hmac("sha256", password, _SALT, _ROUNDS, 32)
    padder = PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(_SALT)).encryptor()
    cipher = encryptor.update(padder.update(content) + padder.finalize()) + encryptor.finalize()
    rounds = _ROUNDS if claimed_rounds is None else claimed_rounds
    prf = seq(oid("1.2.840.113549.2.9"), tlv(0x05))
    kdf = seq(oid("1.2.840.113549.1.5.12"), seq(octets(_SALT), integer(rounds), prf))
    return seq(oid("1.2.840.113549.1.5.13"), seq(kdf, _aes(_SALT))), cipher


def _aes(vector: bytes) -> bytes:
    return seq(oid("2.16.840.1.101.3.4.1.42"), octets(vector))

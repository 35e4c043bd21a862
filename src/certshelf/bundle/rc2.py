"""RC2 in CBC mode, to decrypt only: old Windows and OpenSSL hide certificates with 40 bits of it.

Here because the libraries know RC2 with 128 bits alone. Slow, and never used to protect anything.
Source: RFC 2268.
"""

from __future__ import annotations

import struct

_PI = bytes.fromhex(
    "d978f9c419ddb5ed28e9fd794aa0d89dc67e37832b76538e624c6488448bfba2"
    "179a59f587b34f1361456d8d09817d32bd8f40eb86b77b0bf09521225c6b4e82"
    "54d66593ce60b21c7356c014a78cf1dc1275ca1f3bbee4d1423dd430a33cb626"
    "6fbf0eda4669075727f21d9bbc944303f811c7f690ef3ee706c3d52fc8661ed7"
    "08e8eade8052eef784aa72ac354d6a2a961ad2715a1549744b9fd05e0418a4ec"
    "c2e0416e0f51cbcc2491af50a1f47039997c3a8523b8b47afc02365b25559731"
    "2d5dfa98e38a92ae05df2910676cbac9d300e6cfe19ea82c6316013f58e289a9"
    "0d38341bab33ffb0bb480c5fb9b1cd2ec5f3db47e5a59c770aa62068fe7fc1ad"
)
_SHIFTS = (1, 2, 3, 5)


def decrypt_cbc(key: bytes, vector: bytes, data: bytes) -> bytes:
    """Undo RC2 in CBC mode, padding left in place; the whole key counts (its length times 8 bits).

    Raises ValueError when data is not whole blocks of 8 bytes.
    """
    if len(data) % 8:
        raise ValueError("no whole blocks")
    words, plain, before = _expanded(key), bytearray(), vector
    for at in range(0, len(data), 8):
        block = data[at : at + 8]
        opened = int.from_bytes(_decrypted(words, block), "big") ^ int.from_bytes(before, "big")
        plain += opened.to_bytes(8, "big")
        before = block
    return bytes(plain)


def _expanded(key: bytes) -> tuple[int, ...]:
    """64 words (RFC 2268 section 2)."""
    size = len(key)
    table = bytearray(key) + bytes(128 - size)
    for i in range(size, 128):
        table[i] = _PI[(table[i - 1] + table[i - size]) & 0xFF]
    table[128 - size] = _PI[table[128 - size]]
    for i in range(127 - size, -1, -1):
        table[i] = _PI[table[i + 1] ^ table[i + size]]
    return struct.unpack("<64H", table)


def _decrypted(words: tuple[int, ...], block: bytes) -> bytes:
    """One block (RFC 2268 section 4)."""
    r = list(struct.unpack("<4H", block))
    at = 63
    for turn in range(16):
        if turn in (5, 11):
            for i in (3, 2, 1, 0):
                r[i] = (r[i] - words[r[i - 1] & 63]) & 0xFFFF
        for i in (3, 2, 1, 0):
            shift = _SHIFTS[i]
            value = (r[i] >> shift | r[i] << (16 - shift)) & 0xFFFF
            last = r[i - 1]
            r[i] = (value - words[at] - (last & r[i - 2]) - (~last & r[i - 3])) & 0xFFFF
            at -= 1
    return struct.pack("<4H", *r)

"""PEM in and out: any order, one key, and a reason for each refusal."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.support.certificates import authorities, bundle, key

from certshelf.bundle import pem
from certshelf.errors import KeyMismatch, PemUnreadable
from certshelf.secret import Secret


def _certificates(*found: object) -> bytes:
    return b"".join(c.public_bytes(Encoding.PEM) for c in found)  # type: ignore[attr-defined]


def test_pem_comes_back_whole() -> None:
    made = bundle()
    back = pem.decode(pem.encode(made))
    assert back == made
    assert back.chain == made.chain


def test_an_encrypted_key_needs_its_password() -> None:
    made = bundle()
    text = pem.encode(made, Secret("pass"))
    assert b"ENCRYPTED" in text
    assert pem.decode(text, Secret("pass")) == made
    with pytest.raises(PemUnreadable, match="is encrypted"):
        pem.decode(text)
    with pytest.raises(PemUnreadable, match="wrong password or damaged"):
        pem.decode(text, Secret("other"))


def test_order_does_not_matter_and_comments_are_skipped() -> None:
    made = bundle()
    lower, upper, root = authorities()
    text = b"# a comment\n" + _certificates(root, upper, made.leaf) + b"Bag Attributes\r\n"
    text += key().private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    text += _certificates(lower).replace(b"\n", b"\r\n")
    back = pem.decode(text)
    assert back == made
    assert back.chain == (lower, upper)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "no private key"),
        (b"\x30\x82", "no private key"),
        (_certificates(bundle().leaf), "no private key"),
        (pem.encode(bundle()) + pem.encode(bundle()), "2 private keys"),
        (pem.encode(bundle()).split(b"-----BEGIN CERT")[0], "no certificate"),
        (b"x" * (1 << 20) + b"x", "at most"),
        (pem.encode(bundle()).replace(b"MI", b"AA"), "cannot be read"),
    ],
)
def test_what_is_missing_is_said(text: bytes, reason: str) -> None:
    with pytest.raises(PemUnreadable, match=reason):
        pem.decode(text)


def test_a_key_without_its_certificate_does_not_match() -> None:
    other = bundle(number=5)
    key_text = pem.encode(bundle()).split(b"-----BEGIN CERT")[0]
    with pytest.raises(KeyMismatch):
        pem.decode(key_text + _certificates(other.leaf))

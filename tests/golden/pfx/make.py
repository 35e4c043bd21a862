"""Makes the PFX files of this folder anew: python -m tests.golden.pfx.make

Ordinary ones by OpenSSL, Java's keytool and our own library; damaged and hostile ones by hand.
Every file that opens has the password `golden`. Needs openssl (with its legacy provider) and
keytool in the path. The keys are made anew each time: they protect nothing.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.support import asn1
from tests.support.certificates import authorities, bundle

from certshelf.bundle import pem
from certshelf.bundle.model import Bundle
from certshelf.secret import Secret

HERE = Path(__file__).parent
PASSWORD = Secret("golden")
_OPENSSL = ("openssl", "pkcs12", "-export", "-passout", "pass:golden")


def main() -> None:
    """Write every file."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        made = bundle("golden.example.test")
        (work / "all.pem").write_bytes(pem.encode(made))
        _openssl(work)
        _keytool()
        _openssl_wrong(work, made)
    _by_hand(made)
    _damaged((HERE / "modern.pfx").read_bytes())


def _openssl(work: Path) -> None:
    legacy = ("-keypbe", "PBE-SHA1-3DES", "-macalg", "sha1")
    for name, options in {
        "modern": (),
        "windows-2016": (*legacy, "-certpbe", "PBE-SHA1-3DES"),
        "rc2-40": ("-legacy", *legacy, "-certpbe", "PBE-SHA1-RC2-40"),
        "rc4-128": ("-legacy", *legacy, "-certpbe", "PBE-SHA1-RC4-128"),
        "aes-128-sha1-mac": (
            "-keypbe",
            "AES-128-CBC",
            "-certpbe",
            "AES-128-CBC",
            "-macalg",
            "sha1",
        ),
        "sha512-mac": ("-macalg", "sha512"),
        "no-encryption": ("-keypbe", "NONE", "-certpbe", "NONE"),
        "no-mac": ("-nomac",),
    }.items():
        source = ("-in", str(work / "all.pem"), "-name", "golden")
        subprocess.run([*_OPENSSL, *options, *source, "-out", HERE / f"{name}.pfx"], check=True)


def _openssl_wrong(work: Path, made: Bundle) -> None:
    """Files that are whole, and lack what a shelf needs."""
    other = bundle("other.example.test", number=1)
    parts = {
        "key": made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "leaf": made.leaf.public_bytes(Encoding.PEM),
        "other": other.leaf.public_bytes(Encoding.PEM),
    }
    for name, text in parts.items():
        (work / name).write_bytes(text)
    for name, options in {
        "no-key": ("-nokeys", "-in", work / "leaf"),
        "no-certificate": ("-nocerts", "-inkey", work / "key", "-in", work / "key"),
    }.items():
        subprocess.run([*_OPENSSL, *options, "-out", HERE / f"{name}.pfx"], check=True)


def _keytool() -> None:
    """Java's own store with its own key, and another with two keys."""
    for name, aliases in (("keytool", ("golden",)), ("two-keys", ("golden", "second"))):
        (HERE / f"{name}.pfx").unlink(missing_ok=True)
        for alias in aliases:
            command = ["keytool", "-genkeypair", "-storetype", "PKCS12", "-storepass", "golden"]
            command += ["-keyalg", "EC", "-groupname", "secp256r1", "-alias", alias]
            command += ["-dname", "CN=golden.example.test", "-ext", "SAN=DNS:golden.example.test"]
            command += ["-validity", "365", "-keystore", str(HERE / f"{name}.pfx")]
            subprocess.run(command, check=True, capture_output=True)


def _by_hand(made: Bundle) -> None:
    key = made.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    leaf = made.leaf.public_bytes(Encoding.DER)
    other = bundle("other.example.test", number=1)
    stranger = other.leaf.public_bytes(Encoding.DER)
    lower = authorities()[0].public_bytes(Encoding.DER)
    plain = [asn1.key_bag(key), asn1.cert_bag(leaf), asn1.cert_bag(lower)]
    shrouded = asn1.shrouded_bag(key, b"golden")
    huge = 2**31 - 1
    files = {
        "mismatch": asn1.pfx([asn1.data([asn1.key_bag(key), asn1.cert_bag(stranger)])]),
        "ber-indefinite": asn1.pfx(
            [asn1.data([shrouded, *plain[1:]], ber=True)], b"golden", ber=True
        ),
        "nested-bags": asn1.pfx([asn1.data([asn1.nested_bag(plain)])], b"golden"),
        "pbmac1": asn1.pfx([asn1.data([shrouded, *plain[1:]])], b"golden", pbmac1=True),
        "scrypt": asn1.pfx([asn1.data([asn1.scrypt_bag(key), *plain[1:]])]),
        "bomb-mac": asn1.pfx([asn1.data(plain)], b"golden", claimed_rounds=huge),
        "bomb-pbmac1": asn1.pfx([asn1.data(plain)], b"golden", claimed_rounds=huge, pbmac1=True),
        "bomb-key": asn1.pfx(
            [asn1.data([asn1.shrouded_bag(key, b"golden", claimed_rounds=huge), *plain[1:]])]
        ),
        "bomb-content": asn1.pfx(
            [asn1.data(plain[:1]), asn1.encrypted(plain[1:], b"golden", claimed_rounds=huge)]
        ),
        "bomb-nested": asn1.pfx(
            [asn1.data([asn1.nested_bag([asn1.shrouded_bag(key, b"golden", claimed_rounds=huge)])])]
        ),
        "bomb-sum": asn1.pfx(
            [asn1.data([asn1.shrouded_bag(key, b"golden", claimed_rounds=30_000)] * 40)]
        ),
        "bomb-inside": asn1.pfx(
            [
                asn1.encrypted(
                    [asn1.shrouded_bag(key, b"golden", claimed_rounds=huge), *plain[1:]], b"golden"
                )
            ],
            b"golden",
        ),
        "bomb-beside": asn1.pfx(
            [
                asn1.data(plain[:2]),
                asn1.encrypted([asn1.shrouded_bag(key, b"golden", claimed_rounds=huge)], b"golden"),
            ],
            b"golden",
        ),
        "key-beside": asn1.pfx(
            [asn1.data([shrouded, plain[1]]), asn1.encrypted([shrouded], b"golden")], b"golden"
        ),
        "negative-rounds": asn1.pfx([asn1.data(plain)], b"golden", claimed_rounds=-1),
        "too-many-bags": asn1.pfx([asn1.data([plain[0], *plain[1:2] * 80])]),
    }
    for name, content in files.items():
        (HERE / f"{name}.pfx").write_bytes(content)


def _damaged(whole: bytes) -> None:
    """Not PFX at all; the cuts at each eighth are made in the tests from modern.pfx."""
    (HERE / "empty.pfx").write_bytes(b"")
    (HERE / "page.pfx").write_bytes(b"<!doctype html><title>502 Bad Gateway</title>")
    (HERE / "random.pfx").write_bytes(bytes(range(255, 0, -1)) * 4)
    (HERE / "trailing-junk.pfx").write_bytes(whole + b"junk")
    middle = len(whole) // 2
    flipped = bytes([whole[middle] ^ 0xFF])
    (HERE / "flipped-byte.pfx").write_bytes(whole[:middle] + flipped + whole[middle + 1 :])


if __name__ == "__main__":
    main()

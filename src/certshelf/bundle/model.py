"""Bundle: a private key, its leaf and its chain as one immutable value."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from certshelf.errors import NameInvalid
from certshelf.names import HostName

if TYPE_CHECKING:
    from certshelf.secret import Secret

# Not there, there twice, or of a form that nobody reads: none of them is a ValueError.
_NO_EXTENSION = (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class PfxProfile(StrEnum):
    """How a PFX is encrypted; chosen by the oldest server that reads it.

    MODERN: AES-256-CBC, PBKDF2-SHA256, SHA-256 MAC: Windows Server 2019 and everything else.
    WINDOWS_2016: 3DES and SHA-1: Windows Server 2016 and older refuse MODERN as a wrong password.
    """

    MODERN = "modern"
    WINDOWS_2016 = "windows-2016"


class Leaf:
    """What a leaf says of itself, whoever holds its key: what Bundle and LeafChain share."""

    __slots__ = ()
    leaf: x509.Certificate

    @property
    def names(self) -> tuple[HostName, ...]:
        """The DNS names of the SAN extension that are host names, in order (RFC 6125: no CN)."""
        try:
            san = self.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except (*_NO_EXTENSION, ValueError):
            return ()
        names = []
        for text in san.value.get_values_for_type(x509.DNSName):
            try:
                names.append(HostName.parse(text))
            except NameInvalid:
                continue  # a SAN that no shelf can hold serves nobody from here
        return tuple(dict.fromkeys(names))

    def covers(self, host: HostName) -> bool:
        """Whether one of the SANs is good for host."""
        return any(name.covers(host) for name in self.names)

    @property
    def not_before(self) -> datetime:
        """Aware UTC."""
        return self.leaf.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        """Aware UTC."""
        return self.leaf.not_valid_after_utc

    @property
    def thumbprint(self) -> str:
        """SHA-1 of the DER leaf in upper hex, as Windows shows it: a name, no protection."""
        return hashlib.sha1(self.leaf_der, usedforsecurity=False).hexdigest().upper()

    @property
    def sha256(self) -> str:
        """SHA-256 of the DER leaf in lower hex: `thumbprint_sha256` in every output."""
        return hashlib.sha256(self.leaf_der).hexdigest()

    @property
    def serial(self) -> str:
        """The serial number in upper hex with an even number of digits, as `openssl` prints it."""
        text = f"{self.leaf.serial_number:X}"
        return text if len(text) % 2 == 0 else "0" + text

    @property
    def leaf_der(self) -> bytes:
        """The leaf in DER."""
        return self.leaf.public_bytes(Encoding.DER)


@dataclass(frozen=True, slots=True, eq=False)
class Bundle(Leaf):
    """A key, a leaf and an ordered chain (issuer of the leaf first; never the root).

    Two bundles are equal when their leaves are. The repr never shows the key.
    """

    key: PrivateKey = field(repr=False)
    leaf: x509.Certificate = field(repr=False)
    chain: tuple[x509.Certificate, ...] = field(default=(), repr=False)
    friendly_name: str = ""

    def __repr__(self) -> str:
        return f"Bundle({', '.join(map(str, self.names))}; {self.thumbprint})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bundle):
            return NotImplemented
        return self.leaf == other.leaf

    def __hash__(self) -> int:
        return hash(self.leaf)

    @property
    def key_type(self) -> str:
        """`rsa-2048`, `ecdsa-p256`, ...: the words of `--key`."""
        return key_type(self.key)

    def to_pfx(
        self,
        password: Secret | None,
        profile: PfxProfile = PfxProfile.MODERN,
        rounds: int | None = None,
    ) -> bytes:
        """The bundle as PKCS#12 bytes: see bundle.pfx.encode."""
        from certshelf.bundle import pfx

        return pfx.encode(self, password, profile, rounds)

    @staticmethod
    def from_pfx(data: bytes, password: Secret | None) -> Bundle:
        """Read PKCS#12 bytes, hostile ones too: see bundle.pfx.decode."""
        from certshelf.bundle import pfx

        return pfx.decode(data, password)

    def to_pem(self) -> bytes:
        """Key (PKCS#8, not encrypted), leaf and chain, in this order, in one PEM text."""
        from certshelf.bundle import pem

        return pem.encode(self)

    @staticmethod
    def from_pem(data: bytes, password: Secret | None = None) -> Bundle:
        """Read a PEM text with one key and its certificates in any order: see bundle.pem.decode."""
        from certshelf.bundle import pem

        return pem.decode(data, password)


@dataclass(frozen=True, slots=True)
class LeafChain(Leaf):
    """A leaf and its ordered chain whose key lies elsewhere: issued for somebody else's CSR.

    It is no Bundle: no shelf, no PFX and no server can have it from here.
    """

    leaf: x509.Certificate = field(repr=False)
    chain: tuple[x509.Certificate, ...] = field(default=(), repr=False)

    @property
    def key_type(self) -> str:
        """As Bundle's; "" for a key of a kind that no Bundle carries."""
        key = self.leaf.public_key()
        known = isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey))
        return key_type(key) if known else ""  # type: ignore[arg-type]  # known

    def to_pem(self) -> bytes:
        """Leaf and chain, in this order, in one PEM text."""
        return b"".join(one.public_bytes(Encoding.PEM) for one in (self.leaf, *self.chain))


def key_type(key: PrivateKey | rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> str:
    """The name of a key's type and size: `rsa-2048`, `ecdsa-p256`, or the curve's own name."""
    if isinstance(key, (rsa.RSAPrivateKey, rsa.RSAPublicKey)):
        return f"rsa-{key.key_size}"
    curves = {"secp256r1": "ecdsa-p256", "secp384r1": "ecdsa-p384", "secp521r1": "ecdsa-p521"}
    return curves.get(key.curve.name, f"ecdsa-{key.curve.name}")

"""A private CA: a root to trust, one intermediate that signs, and short-lived leaves.

The root's key is forgotten once it has signed the intermediate, so that what is kept (and can be
stolen) signs only what the root allowed: no further CA, and no name outside the permitted ones.
There is no revocation: a leaf lives for days. Sources: RFC 5280 section 4.2; the CA/Browser
Forum's baseline requirements 7.1.2.7 for the shape of a leaf.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certshelf.bundle import pem
from certshelf.bundle.keys import generate
from certshelf.bundle.model import Bundle, PrivateKey
from certshelf.clock import Clock, iso
from certshelf.errors import IssueError, PemUnreadable
from certshelf.issue.issuer import IssueRequest, Progress
from certshelf.names import HostName
from certshelf.secret import Secret

LIFETIME_DAYS = 7.0
CA_LIFETIME = timedelta(days=3652)
MAX_NAMES = 100
# Clocks of clients differ: what is signed now is valid for one that is an hour behind.
_BACKDATED = timedelta(hours=1)
_CA_KEY_TYPE = "ecdsa-p256"
_MAX_COMMON_NAME = 64


@dataclass(frozen=True, slots=True)
class LocalCaMaterial:
    """What to keep of a local CA: two certificates, and the intermediate's key to be sealed."""

    root_pem: bytes
    issuing_pem: bytes
    key: Secret


@dataclass(frozen=True, slots=True)
class LocalCa:
    """An Issuer that signs by itself. Make one with create() or load()."""

    root: x509.Certificate
    issuing: x509.Certificate
    clock: Clock
    key: PrivateKey = field(repr=False)

    @staticmethod
    def create(
        common_name: str,
        clock: Clock,
        *,
        permitted_names: tuple[str, ...] = (),
        lifetime: timedelta = CA_LIFETIME,
    ) -> LocalCa:
        """A new CA with P-256 keys.

        common_name: the root's, 1 to 64 characters. permitted_names: domains that leaves may name,
        themselves and what is below; () for every name. Raises IssueError or NameInvalid.
        """
        if not 0 < len(common_name) <= _MAX_COMMON_NAME - len(_ISSUING):
            raise IssueError(
                "no name for a local CA: 1 to 56 characters", hint="for example: Example Farm CA"
            )
        permitted = tuple(_domain(text) for text in permitted_names)
        span = (clock.now() - _BACKDATED, clock.now() + lifetime)
        root_key, key = generate(_CA_KEY_TYPE), generate(_CA_KEY_TYPE)
        root_name = _subject(common_name)
        root = _authority(root_name, root_key, root_name, root_key, span, permitted, depth=1)
        subject = _subject(common_name + _ISSUING)
        issuing = _authority(subject, key, root_name, root_key, span, permitted, depth=0)
        return LocalCa(root, issuing, clock, key)

    @staticmethod
    def load(material: LocalCaMaterial, clock: Clock) -> LocalCa:
        """A CA as export() gave it. Raises PemUnreadable or KeyMismatch when it is damaged."""
        signer = pem.decode(material.key.reveal_bytes() + b"\n" + material.issuing_pem)
        try:
            root = x509.load_pem_x509_certificate(material.root_pem)
            signer.leaf.verify_directly_issued_by(root)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise PemUnreadable(
                "the local CA's root does not belong to its intermediate",
                hint="restore both from a backup",
            ) from error
        return LocalCa(root, signer.leaf, clock, signer.key)

    def export(self) -> LocalCaMaterial:
        """What load() needs: the caller seals the key before it lies anywhere."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        issuing = self.issuing.public_bytes(Encoding.PEM)
        return LocalCaMaterial(self.root_pem(), issuing, Secret(key.decode()))

    def root_pem(self) -> bytes:
        """The root as PEM: what clients are told to trust."""
        return self.root.public_bytes(Encoding.PEM)

    async def issue(self, request: IssueRequest, progress: Progress) -> Bundle:
        """See Issuer. Without a lifetime a leaf lives 7 days, and never longer than the CA."""
        progress(f"making a key of type {request.key_type}")
        key = await asyncio.to_thread(generate, request.key_type)  # RSA takes up to seconds
        leaf, issuing = self.sign(request.names, key.public_key(), request.lifetime_days)
        progress(f"signed by {_common_name(issuing)}, until {iso(leaf.not_valid_after_utc)}")
        return Bundle(key, leaf, (issuing,), str(request.names[0]))

    def sign(
        self,
        names: Iterable[HostName],
        key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
        lifetime_days: float | None = None,
        *,
        addresses: Iterable[str] = (),
    ) -> tuple[x509.Certificate, x509.Certificate]:
        """A leaf for a key that the caller keeps, and the chain's one intermediate."""
        further = tuple(addresses)
        allowed = self._allowed(names, further)
        span = self._span(lifetime_days)
        return _sign_leaf(allowed, further, key, span, self.issuing, self.key), self.issuing

    def _allowed(
        self, names: Iterable[HostName], addresses: tuple[str, ...]
    ) -> tuple[HostName, ...]:
        wanted = tuple(dict.fromkeys(names))
        if not 1 <= len(wanted) + len(addresses) <= MAX_NAMES:
            count = len(wanted) + len(addresses)
            raise IssueError(f"{count} names in one certificate: 1 to {MAX_NAMES}")
        permitted = _permitted(self.issuing)
        if permitted and addresses:
            raise IssueError(
                f"the local CA may not sign addresses: only {', '.join(permitted)}",
                hint="another local CA, without --permit, may",
            )
        for name in wanted:
            if permitted and not any(_below(name, domain) for domain in permitted):
                raise IssueError(
                    f"the local CA may not sign {name}: only {', '.join(permitted)}",
                    hint="make another local CA that permits this domain",
                )
        return wanted

    def _span(self, lifetime_days: float | None) -> tuple[datetime, datetime]:
        """From when until when a leaf is valid that is signed now."""
        now = self.clock.now()
        if not self.issuing.not_valid_before_utc <= now < self.issuing.not_valid_after_utc:
            until = iso(self.issuing.not_valid_after_utc)
            raise IssueError(
                f"the local CA is not valid now: it is until {until}",
                hint="make a new local CA and let the clients trust its root",
            )
        days = LIFETIME_DAYS if lifetime_days is None else lifetime_days
        longest = self.issuing.not_valid_after_utc - now
        if not days > 0:
            raise IssueError(f"a lifetime of {days:g} days", hint="more than 0 days")
        lifetime = longest if days >= longest / timedelta(days=1) else timedelta(days=days)
        return max(now - _BACKDATED, self.issuing.not_valid_before_utc), now + lifetime


_ISSUING = " Issuing"


def _authority(
    subject: x509.Name,
    key: PrivateKey,
    issuer: x509.Name,
    issuer_key: PrivateKey,
    span: tuple[datetime, datetime],
    permitted: tuple[str, ...],
    depth: int,
) -> x509.Certificate:
    """A CA certificate; depth: how many CA certificates may follow below it."""
    builder = _start(subject, key.public_key(), issuer, issuer_key.public_key(), span)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=depth), True)
    builder = builder.add_extension(_usage(ca=True), critical=True)
    if permitted:
        constraints = x509.NameConstraints([x509.DNSName(name) for name in permitted], None)
        builder = builder.add_extension(constraints, critical=True)
    return _sign(builder, issuer_key)


def _sign_leaf(
    names: tuple[HostName, ...],
    addresses: tuple[str, ...],
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    span: tuple[datetime, datetime],
    issuer: x509.Certificate,
    issuer_key: PrivateKey,
) -> x509.Certificate:
    first = names[0].ascii if names else addresses[0]
    subject = _subject(first) if len(first) <= _MAX_COMMON_NAME else x509.Name([])
    san = x509.SubjectAlternativeName(
        [
            *(x509.DNSName(name.ascii) for name in names),
            *(x509.IPAddress(ip_address(text)) for text in addresses),
        ]
    )
    builder = (
        _start(subject, key, issuer.subject, issuer_key.public_key(), span)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        # RFC 5280 section 4.2.1.6: critical when the subject is empty
        .add_extension(san, critical=not list(subject))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_usage(encipher=isinstance(key, rsa.RSAPublicKey)), critical=True)
    )
    return _sign(builder, issuer_key)


def _start(
    subject: x509.Name,
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuer_public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    span: tuple[datetime, datetime],
) -> x509.CertificateBuilder:
    """What every certificate has: names, key, serial, validity and the two key identifiers."""
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_public)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(secrets.randbits(128) or 1)
        .not_valid_before(span[0])
        .not_valid_after(span[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(authority, critical=False)
    )


def _sign(builder: x509.CertificateBuilder, key: PrivateKey) -> x509.Certificate:
    return builder.sign(key, hashes.SHA256())


def _usage(*, ca: bool = False, encipher: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=encipher,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _common_name(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def _permitted(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(
        str(n.value) for n in found.permitted_subtrees or () if isinstance(n, x509.DNSName)
    )


def _domain(text: str) -> str:
    """A domain as RFC 5280 section 4.2.1.10 writes it: it stands for all that is below it."""
    return HostName.parse(text).ascii.removeprefix("*.")


def _below(name: HostName, domain: str) -> bool:
    """Whether the name is this domain or below it (RFC 5280 section 4.2.1.10)."""
    bare = name.ascii.removeprefix("*.")
    return bare == domain or bare.endswith("." + domain)

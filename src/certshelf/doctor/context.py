"""What the checks look at: plain values that somebody else gathered, nothing that opens a thing.

None stands for "not looked at": a check that needs it says so instead of saying that all is well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509

from certshelf.bundle.model import Bundle, PfxProfile
from certshelf.doctor.served import Served
from certshelf.farm import Binding, Kind, Member
from certshelf.finding import Finding
from certshelf.names import HostName
from certshelf.shelf.files import ShelfFile


@dataclass(frozen=True, slots=True)
class FileFacts:
    """One file of the shelf without its key. findings: what the shelf itself says of it."""

    file: str
    host: HostName | None = None
    names: tuple[HostName, ...] = ()
    thumbprint: str = ""
    sha256: str = ""
    serial: str = ""
    not_before: datetime | None = None
    not_after: datetime | None = None
    key_type: str = ""
    profile: PfxProfile | None = None
    owner: str = ""
    written_at: datetime | None = None
    chain_complete: bool = True
    findings: tuple[Finding, ...] = ()

    @staticmethod
    def of(file: ShelfFile, written_at: datetime | None = None) -> FileFacts:
        """The facts of a file that the shelf looked at; written_at: when it was put there."""
        bundle = file.bundle
        if bundle is None:
            return FileFacts(
                file.file, file.host, profile=file.profile, owner=file.owner, findings=file.findings
            )
        return FileFacts(
            file=file.file,
            host=file.host,
            names=bundle.names,
            thumbprint=bundle.thumbprint,
            sha256=bundle.sha256,
            serial=bundle.serial,
            not_before=bundle.not_before,
            not_after=bundle.not_after,
            key_type=bundle.key_type,
            profile=file.profile,
            owner=file.owner,
            written_at=written_at,
            chain_complete=_chain_is_complete(bundle),
            findings=file.findings,
        )


def _chain_is_complete(bundle: Bundle) -> bool:
    """False when the leaf says where its issuer can be fetched and the file has none.

    A leaf that a root signed itself, as our local CA's, needs no chain: the root is never on a
    shelf. A public CA's leaf always comes from an intermediate and names it (RFC 5280, 4.2.2.1).
    """
    if bundle.chain or bundle.leaf.issuer == bundle.leaf.subject:
        return True
    try:
        access = bundle.leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except (x509.ExtensionNotFound, ValueError):
        return True
    issuers = x509.oid.AuthorityInformationAccessOID.CA_ISSUERS
    return all(item.access_method != issuers for item in access.value)


@dataclass(frozen=True, slots=True)
class ShelfFacts:
    """The shelf as a place. error: kind and text of what went wrong with a fresh session.

    unasked: why nobody tried, when another check says what is wrong.
    """

    url: str
    error: str = ""
    hint: str = ""
    unasked: str = ""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """A managed certificate: what the checks and `explain` need of its record."""

    name: str
    hosts: tuple[HostName, ...]
    state: str = "valid"
    mode: str = "auto"
    issuer: str = ""
    auto_renew: bool = True
    not_after: datetime | None = None
    renew_at: datetime | None = None
    retry_at: datetime | None = None
    failures: int = 0
    last_error: str = ""
    strangers: tuple[str, ...] = ()
    """Fallback issuers whose account members in farm mode do not answer for."""


@dataclass(frozen=True, slots=True)
class CredentialFacts:
    """A credential by its name, and when it ends; None when nobody said."""

    name: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class IssuerFacts:
    """An issuer: whether it is ready, and how much of its rate budget is left.

    budget: of the limit that is nearest to its end, 0.0 to 1.0; None when no limit is known.
    """

    name: str
    acme: bool = True
    account: str = "valid"
    budget: float | None = None


@dataclass(frozen=True, slots=True)
class ChallengeFacts:
    """A trial of one host's challenge path. error "" when it would be answered.

    untried: why it could not be tried from here, which says nothing about the host. caa: the CAA
    record that would keep other CAs out; "" when there are such records, or none can be named.
    """

    host: str
    error: str = ""
    untried: str = ""
    caa: str = ""


@dataclass(frozen=True, slots=True)
class PublishedFolder:
    """A folder whose files somebody publishes by HTTP. subject: who; what: in which role.

    here: whether it is known to be on the manager's machine; a path of a member may be elsewhere.
    """

    subject: str
    folder: str
    what: str
    here: bool = False


@dataclass(frozen=True, slots=True)
class ManagerFacts:
    """The machine that the manager runs on.

    clock_off_seconds: against an outside clock, None when none answered. database_error: "" when
    its integrity check passed. loose_files: secrets that others may read. config_secrets: settings
    that hold a secret in clear.
    """

    clock_off_seconds: float | None = None
    disk_free_bytes: int | None = None
    disk: str = ""
    database_error: str = ""
    loose_files: tuple[str, ...] = ()
    config_secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """Everything at one moment. bindings: by member name; a member without is not read.

    unread: why the bindings file of a member could not be read, by its name. shelves: the addresses
    of all shelves. published: the folders that certificates' webroots and members' sites publish.
    """

    now: datetime
    members: tuple[Member, ...] = ()
    bindings: Mapping[str, tuple[Binding, ...]] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    shelf: ShelfFacts | None = None
    share: tuple[Finding, ...] | None = None
    files: tuple[FileFacts, ...] | None = None
    among_files: tuple[Finding, ...] = ()
    certificates: tuple[CertificateFacts, ...] | None = None
    issuers: tuple[IssuerFacts, ...] | None = None
    credentials: tuple[CredentialFacts, ...] | None = None
    challenges: tuple[ChallengeFacts, ...] | None = None
    manager: ManagerFacts | None = None
    shelves: tuple[str, ...] = ()
    published: tuple[PublishedFolder, ...] = ()
    iis: tuple[Finding, ...] | None = None
    served: tuple[Served, ...] | None = None

    def member_bindings(self, kind: Kind | None = None) -> Iterator[tuple[Member, Binding]]:
        """Every binding that was read, with its member; of one kind of server or of all."""
        for member in self.members:
            if kind in (None, member.kind):
                for binding in self.bindings.get(member.name, ()):
                    yield member, binding

    def hosts_with_files(self) -> frozenset[HostName]:
        """The names that the shelf has a file for."""
        return frozenset(f.host for f in self.files or () if f.host is not None)

"""What a member serves for a name against what the shelf holds: values and the verdict, no I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from certshelf.doctor.causes import Cause
from certshelf.farm import Binding, Kind, Member
from certshelf.names import HostName

# How long a member may go on with the file before: IIS's polling interval (300 s by default) and
# a margin, elsewhere what docs/reference/servers.md promises and a margin.
GRACE = {
    Kind.IIS: timedelta(seconds=360),
    Kind.APACHE: timedelta(seconds=120),
    Kind.OTHER: timedelta(seconds=120),
}
DEFAULT_GRACE = timedelta(seconds=30)
STARTTLS_PORTS = {25: "smtp", 587: "smtp", 143: "imap", 389: "ldap", 3389: "rdp"}
STARTTLS = ("smtp", "imap", "ldap", "rdp")
PROBE_LABEL = "certshelf-check"
"""The first label that stands in for a wildcard's `*`."""


class Verdict(StrEnum):
    """How one member stands with one name."""

    CURRENT = "current"
    PENDING = "pending"
    OLD = "old"
    OTHER = "other-certificate"
    DEFAULT = "default-certificate"
    EXPIRED = "expired"
    NO_ANSWER = "no-answer"
    REFUSED = "refused"


class Failure(StrEnum):
    """Why no certificate was seen."""

    NAME_UNKNOWN = "name-unknown"
    PORT_CLOSED = "port-closed"
    TIMEOUT = "timeout"
    CLOSED = "closed"
    NOT_TLS = "not-tls"
    STARTTLS = "starttls"
    ALERT = "alert"
    PROTOCOL = "protocol"
    CLIENT_CERTIFICATE = "client-certificate"


NO_CERTIFICATE_YET = frozenset({Failure.ALERT, Failure.CLOSED})
"""How a server ends a handshake for a name that it knows no certificate for."""
REFUSALS = frozenset({Failure.ALERT, Failure.PROTOCOL, Failure.CLIENT_CERTIFICATE})


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect and what to ask for. name None: no SNI, for the default certificate."""

    member: str
    kind: Kind
    host: str
    port: int
    name: HostName | None
    starttls: str = ""

    @property
    def sni(self) -> str:
        """The name as it goes on the wire: A-labels, a real label for a wildcard's `*`."""
        if self.name is None:
            return ""
        return self.name.ascii.replace("*", PROBE_LABEL, 1)

    def nameless(self) -> Target:
        """The same place, asked without a name."""
        return replace(self, name=None)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the shelf holds for a name. changed_at: when it was put there, None when unknown."""

    file: str
    sha256: str
    not_before: datetime
    not_after: datetime
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What one handshake showed: a certificate, or a failure with the peer's own words."""

    target: Target
    sha256: str = ""
    names: tuple[HostName, ...] = ()
    issuer: str = ""
    not_before: datetime | None = None
    not_after: datetime | None = None
    failure: Failure | None = None
    detail: str = ""

    def covers(self, name: HostName) -> bool:
        """Whether the certificate is good for name."""
        return any(own.covers(name) for own in self.names)


@dataclass(frozen=True, slots=True)
class Served:
    """One member and one name: the verdict and its cause."""

    target: Target
    verdict: Verdict
    cause: Cause | None
    expected: Expected | None = None
    seen: Seen | None = None


def targets(members: Iterable[Member], names: Collection[HostName]) -> Iterator[Target]:
    """Every member that has an address, with every name; members are asked in turn.

    Going round keeps many members busy at once instead of one after the other.
    """
    reachable = [m for m in members if m.host and m.port]
    for name in names:
        for member in reachable:
            yield target(member, name)


def target(member: Member, name: HostName) -> Target:
    """A member asked for a name; the port tells whether STARTTLS comes first."""
    starttls = STARTTLS_PORTS.get(member.port, "")
    return Target(member.name, member.kind, member.host, member.port, name, starttls)


def judge(
    seen: Seen,
    expected: Expected,
    now: datetime,
    *,
    default_sha256: str = "",
    bindings: Iterable[Binding] = (),
) -> Served:
    """Compare a handshake with the shelf.

    default_sha256: what the member serves without a name. bindings: of that member, where known;
    they explain, and never change the verdict.
    """
    verdict = _verdict(seen, expected, now, default_sha256)
    cause = _cause(verdict, seen, expected, default_sha256, tuple(bindings))
    return Served(seen.target, verdict, cause, expected, seen)


def _verdict(seen: Seen, expected: Expected, now: datetime, default_sha256: str) -> Verdict:
    name = seen.target.name
    fresh = _is_fresh(expected, seen.target.kind, now)
    if fresh and seen.failure in NO_CERTIFICATE_YET:
        return Verdict.PENDING
    if seen.failure is not None or name is None:
        return Verdict.REFUSED if seen.failure in REFUSALS else Verdict.NO_ANSWER
    if seen.not_after is not None and seen.not_after <= now:
        return Verdict.EXPIRED
    if seen.sha256 == expected.sha256:
        return Verdict.CURRENT
    if fresh:
        return Verdict.PENDING
    if not seen.covers(name):
        return Verdict.DEFAULT if seen.sha256 == default_sha256 else Verdict.OTHER
    older = seen.not_before is not None and seen.not_before < expected.not_before
    return Verdict.OLD if older else Verdict.OTHER


def _is_fresh(expected: Expected, kind: Kind, now: datetime) -> bool:
    """Whether the file is so new that the member may not have looked yet."""
    changed = expected.changed_at
    return changed is not None and now - changed < GRACE.get(kind, DEFAULT_GRACE)


_FAILURES = {
    Failure.NAME_UNKNOWN: Cause.ADDRESS_UNKNOWN,
    Failure.PORT_CLOSED: Cause.PORT_CLOSED,
    Failure.TIMEOUT: Cause.TIMEOUT,
    Failure.CLOSED: Cause.CONNECTION_CLOSED,
    Failure.NOT_TLS: Cause.NOT_TLS,
    Failure.STARTTLS: Cause.STARTTLS_REFUSED,
    Failure.ALERT: Cause.HANDSHAKE_REFUSED,
    Failure.PROTOCOL: Cause.PROTOCOL,
    Failure.CLIENT_CERTIFICATE: Cause.CLIENT_CERTIFICATE,
}


def _cause(
    verdict: Verdict,
    seen: Seen,
    expected: Expected,
    default_sha256: str,
    bindings: tuple[Binding, ...],
) -> Cause | None:
    kind = seen.target.kind
    if verdict is Verdict.CURRENT:
        return None
    if verdict is Verdict.PENDING:
        return Cause.POLLING
    if seen.failure is not None:
        # IIS has no default certificate: without a file it ends the connection (KAUSHAL, 5-7).
        if kind is Kind.IIS and seen.failure in (Failure.CLOSED, Failure.ALERT):
            return Cause.IIS_NO_CERTIFICATE
        return _FAILURES[seen.failure]
    if verdict is Verdict.EXPIRED and seen.sha256 == expected.sha256:
        return Cause.SHELF_EXPIRED
    if _has_own_certificate(seen.target, bindings):
        return Cause.OWN_CERTIFICATE
    if kind is Kind.IIS and seen.sha256 == default_sha256:
        return Cause.IIS_HIDDEN_STORE
    if verdict is Verdict.DEFAULT:
        return Cause.NO_CERTIFICATE_FOR_NAME
    if verdict in (Verdict.OLD, Verdict.EXPIRED):
        return _stale(seen, expected)
    return Cause.ANOTHER_SOURCE


def _stale(seen: Seen, expected: Expected) -> Cause:
    exact_file = not expected.file.startswith("_.")
    wildcard_only = bool(seen.names) and all(name.is_wildcard for name in seen.names)
    if exact_file and wildcard_only:
        return Cause.WILDCARD_BEFORE_EXACT
    return Cause.IIS_NOT_RELOADED if seen.target.kind is Kind.IIS else Cause.READER_BEHIND


def _has_own_certificate(target: Target, bindings: tuple[Binding, ...]) -> bool:
    """Whether the configuration names a certificate for exactly this name and port."""
    name = target.name
    for binding in bindings:
        same = name is not None and binding.host.lower() in (name.ascii, name.unicode)
        direct = not binding.flags & 2 if target.kind is Kind.IIS else bool(binding.certificate)
        if same and binding.port == target.port and direct:
            return True
    return False

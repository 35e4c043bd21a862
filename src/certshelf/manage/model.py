"""What the manager remembers, as frozen values: no SQL, no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from certshelf.deploy.triggers import Outcome, Phase, Trigger
from certshelf.errors import RecordError
from certshelf.names import HostName

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)


def check_name(text: str, what: str) -> str:
    """The name of a record if it is one, else RecordError; what: the noun, for the message."""
    if not _NAME.fullmatch(text):
        raise RecordError(
            f"no name for a {what}: {text[:80]!r}",
            hint="1 to 64 lower-case letters, digits, dots, hyphens and underscores",
        )
    return text


def record_name(text: str) -> str:
    """A name that a record may have, made of any text: lower case, hyphens for what it may not."""
    text = text.lower().replace("*.", "wildcard.")
    return re.sub(r"[^a-z0-9._-]+", "-", text).strip("._-")[:60] or "imported"


class Mode(StrEnum):
    """What happens after issuance."""

    AUTO = "auto"  # publish to the shelf, then all tasks
    SHELF_ONLY = "shelf-only"
    NONE = "none"


class State(StrEnum):
    """How a managed certificate stands; times tell the rest (`expired` is a matter of now)."""

    NEW = "new"
    VALID = "valid"
    FAILED = "failed"  # the last run failed; a valid one may still be on the shelf
    PAUSED = "paused"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class ChallengeChoice:
    """How hosts that match a pattern are validated.

    pattern: `*` for all, a host, or `*.zone` for the zone and all below it. type: `http-01`, ...
    settings: the solver's own, plain texts. credential: the name of the secret it needs, or "".
    """

    type: str
    pattern: str = "*"
    settings: Mapping[str, str] = field(default_factory=dict)
    credential: str = ""


@dataclass(frozen=True, slots=True)
class CertificateStatus:
    """What the pipeline knows; users change the wish, never this. All times aware UTC.

    generation counts the issued bundles. renew_at: when to renew, chosen once per bundle.
    retry_at: not before, after a failure. ari_*: RFC 9773.
    """

    state: State = State.NEW
    generation: int = 0
    thumbprint: str = ""
    serial: str = ""
    not_before: datetime | None = None
    not_after: datetime | None = None
    renew_at: datetime | None = None
    retry_at: datetime | None = None
    failures: int = 0
    last_error: str = ""
    last_run_at: datetime | None = None
    ari_id: str = ""
    ari_next_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ManagedCertificate:
    """What to keep issued: the wish, and how it stands.

    id: 0 until it is stored. addresses: IP addresses in their shortest form (RFC 8738); no client
    asks for one by SNI, so they have no file on a shelf. groups: the groups of servers whose
    shelves it is published to, () for the one shelf of all. profile: the CA's, "" for its default.
    password_credential: "" for the shelf's own. challenges: the first whose pattern matches a host
    counts. csr: somebody else's, in PEM, whose names and key these are; "" for keys of our own.
    """

    name: str
    hosts: tuple[HostName, ...]
    addresses: tuple[str, ...] = ()
    issuer: str = "local"
    fallbacks: tuple[str, ...] = ()
    profile: str = ""
    challenges: tuple[ChallengeChoice, ...] = ()
    key_type: str = "ecdsa-p256"
    reuse_key: bool = False
    mode: Mode = Mode.AUTO
    tags: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    auto_renew: bool = True
    password_credential: str = ""
    preferred_chain: str = ""
    comment: str = ""
    csr: str = field(default="", repr=False)
    created_at: datetime | None = None
    status: CertificateStatus = CertificateStatus()
    id: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """All that its leaf names, as texts: the hosts in A-labels, then the addresses."""
        return (*(host.ascii for host in self.hosts), *self.addresses)


class CredentialKind(StrEnum):
    """What a credential is for; the secret itself is always one text."""

    PASSWORD = "password"  # noqa: S105  # of PFX files
    LOGIN = "login"  # user name and password, of a share or a bucket
    TOKEN = "token"  # noqa: S105  # of a DNS provider or a webhook
    TSIG = "tsig"  # user name = key name, RFC 8945
    EAB = "eab"  # user name = key id, RFC 8555 section 7.3.4
    KEY = "key"  # that signs the shelf's records


@dataclass(frozen=True, slots=True)
class Credential:
    """A named secret, without the secret. expires_at: when its owner said that it ends."""

    name: str
    kind: CredentialKind = CredentialKind.PASSWORD
    username: str = ""
    comment: str = ""
    created_at: datetime | None = None
    changed_at: datetime | None = None
    expires_at: datetime | None = None


class IssuerKind(StrEnum):
    """Who signs."""

    LOCAL = "local"
    ACME = "acme"


@dataclass(frozen=True, slots=True)
class IssuerRecord:
    """An issuer by name.

    settings: directory, CA file, contact, profile, ...: the issuer's own, plain JSON.
    certificate: the local CA's root in PEM, "" elsewhere. Its key lies sealed beside it.
    """

    name: str
    kind: IssuerKind
    settings: Mapping[str, Any] = field(default_factory=dict)
    fallbacks: tuple[str, ...] = ()
    certificate: str = ""
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """Our account at an ACME CA, without its key. kid: the account URL (RFC 8555 7.3)."""

    issuer: str
    directory: str
    kid: str
    thumbprint: str
    status: str = "valid"
    created_at: datetime | None = None


class Step(StrEnum):
    """How far an order is; each step is safe to repeat. The order of the words is the way."""

    NEW = "new"
    ORDERED = "ordered"
    AUTHORIZED = "authorized"
    KEY_SEALED = "key-sealed"
    FINALIZED = "finalized"
    DOWNLOADED = "downloaded"
    VERIFIED = "verified"
    PUBLISHED = "published"
    DONE = "done"
    FAILED = "failed"
    PAUSED = "paused"

    @property
    def is_final(self) -> bool:
        """Whether nobody works on it any more."""
        return self in (Step.DONE, Step.FAILED)


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """One run for one managed certificate, from intent to published.

    generation: grows whenever somebody takes the order over; a write under an older one is
    refused. key_sealed: the private key's envelope, in the row before the CA finalises.
    csr: base64url DER. chain: PEM, leaf first. replaces: RFC 9773 certificate id.
    """

    id: int
    certificate_id: int
    issuer: str
    step: Step = Step.NEW
    order_url: str = ""
    expires: datetime | None = None
    replaces: str = ""
    key_sealed: str = field(default="", repr=False)
    csr: str = field(default="", repr=False)
    chain: str = field(default="", repr=False)
    attempt: int = 0
    retry_at: datetime | None = None
    generation: int = 0
    lease_owner: str = ""
    lease_until: datetime | None = None
    error: str = ""
    created_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ChallengeRecord:
    """A challenge that we presented and must clean up. record_ref: where, in the solver's words."""

    order_id: int
    host: str
    type: str
    token: str
    url: str = ""
    record_ref: str = ""
    cleaned: bool = False


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket: scope is an account or a CA, kind what is counted."""

    scope: str
    kind: str
    tokens: float
    refilled_at: datetime


@dataclass(frozen=True, slots=True)
class IssuedRecord:
    """A bundle that we issued, kept so that publishing can be repeated without an order.

    chain: PEM, leaf first. The key lies sealed beside it; a CSR from outside has none.
    """

    certificate_id: int
    generation: int
    issuer: str
    thumbprint: str
    thumbprint_sha256: str
    serial: str
    key_type: str
    not_before: datetime
    not_after: datetime
    issued_at: datetime
    chain: str = field(default="", repr=False)
    has_key: bool = True
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """One deployment task of a managed certificate. timeout_s in seconds; id 0 until stored."""

    certificate_id: int
    name: str
    kind: str
    phase: Phase = Phase.AFTER
    trigger: Trigger = Trigger.SUCCESS
    position: int = 0
    timeout_s: float = 60.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    credential: str = ""
    skip_reason: str = ""
    id: int = 0


@dataclass(frozen=True, slots=True)
class TaskRun:
    """One run of a task. log: what it said. stale: files on targets that are still the old ones."""

    task_id: int
    outcome: Outcome
    started_at: datetime
    finished_at: datetime
    log: str = ""
    stale: tuple[str, ...] = ()
    order_id: int | None = None
    id: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the append-only log; hash covers all other fields and the hash before it."""

    seq: int
    at: datetime
    kind: str
    subject: str
    actor: str
    data: Mapping[str, Any]
    prev_hash: str
    hash: str

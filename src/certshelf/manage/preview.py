"""What a request of a certificate would do, asked of everything that it would touch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from certshelf.bundle.model import Bundle, LeafChain
from certshelf.deploy.base import Planned, Preview
from certshelf.deploy.registry import parse_task
from certshelf.deploy.shelf_preview import preview_shelf
from certshelf.deploy.triggers import Phase, Trigger, should_run
from certshelf.errors import CertshelfError
from certshelf.finding import Finding, Severity
from certshelf.manage import fallbacks
from certshelf.manage.issuers import local_ca, require_issuer
from certshelf.manage.model import IssuerKind, ManagedCertificate, Mode, Task
from certshelf.manage.plan import is_due
from certshelf.manage.publishing import issued_bundle, shelves_of
from certshelf.manage.tasks import Situation, context_of

if TYPE_CHECKING:
    from certshelf.manage.db.records import Records
    from certshelf.manage.manager import Manager


@dataclass(frozen=True, slots=True)
class Part:
    """A shelf, a task or the issuer: what would be done there. problem: why it cannot, or "".

    skipped: why it would not run, or "".
    """

    name: str
    target: str
    files: tuple[Planned, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str = ""
    hint: str = ""
    skipped: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is in the way."""
        return not self.problem and all(f.severity is not Severity.ERROR for f in self.findings)


@dataclass(frozen=True, slots=True)
class CertificatePreview:
    """The whole of it. requests: whether a new certificate would be requested."""

    certificate: ManagedCertificate
    requests: bool
    issuer: Part
    shelves: tuple[Part, ...] = ()
    tasks: tuple[Part, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is in the way."""
        return all(part.ok for part in (self.issuer, *self.shelves, *self.tasks))


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the records say."""

    certificate: ManagedCertificate
    tasks: list[Task]
    bundle: Bundle | LeafChain | None
    kind: IssuerKind
    has_account: bool = False
    fallbacks: tuple[Finding, ...] = ()


def preview_certificate(manager: Manager, name: str) -> CertificatePreview:
    """Ask shelves, tasks' targets and the issuer, all at once; nothing is left changed there.

    Challenges are presented, looked for and taken away again. Raises RecordError for an unknown
    name. Runs its own event loop: call it from a thread without one.
    """
    with manager.database.read() as records:
        seen = _seen(records, name)
    requests = is_due(seen.certificate, manager.clock.now())
    bundle = None if requests else seen.bundle
    return asyncio.run(_ask(manager, seen, requests, bundle))


def _seen(records: Records, name: str) -> _Seen:
    certificate = records.certificates.get(name)
    require_issuer(records, certificate.issuer)
    record = records.issuers.find(certificate.issuer)
    issued = records.issued.newest(certificate.id)
    account = records.accounts.find(certificate.issuer)
    return _Seen(
        certificate,
        records.tasks.of(certificate.id),
        issued_bundle(records, certificate) if issued else None,
        record.kind if record else IssuerKind.LOCAL,
        account is not None and bool(account.kid),
        tuple(fallbacks.findings(records, certificate)),
    )


async def _ask(
    manager: Manager, seen: _Seen, requests: bool, bundle: Bundle | LeafChain | None
) -> CertificatePreview:
    certificate = seen.certificate
    issuer = asyncio.create_task(_issuer(manager, seen))
    shelves = asyncio.create_task(asyncio.to_thread(_shelves, manager, certificate, bundle))
    tasks = [asyncio.to_thread(_task, manager, certificate, task, bundle) for task in seen.tasks]
    done = await asyncio.gather(*tasks)
    return CertificatePreview(certificate, requests, await issuer, await shelves, tuple(done))


async def _issuer(manager: Manager, seen: _Seen) -> Part:
    """The CA's account, and a trial of every name's challenge."""
    from certshelf.manage.trial import try_certificate

    certificate = seen.certificate
    part = Part("issuer", certificate.issuer)
    if seen.kind is IssuerKind.LOCAL:
        return await asyncio.to_thread(_local, manager, certificate, part)
    if not seen.has_account:
        note = "there is no account yet: the first request makes it"
        return replace(part, findings=seen.fallbacks, notes=(note,))
    try:
        found = await try_certificate(manager, certificate.name)
    except CertshelfError as error:
        return replace(part, problem=str(error), hint=error.hint)
    return replace(part, findings=tuple(found))


def _local(manager: Manager, certificate: ManagedCertificate, part: Part) -> Part:
    try:
        with manager.database.write() as records:
            local_ca(records, certificate.issuer, manager.clock)
    except CertshelfError as error:
        return replace(part, problem=str(error), hint=error.hint)
    return replace(part, notes=("the local CA can be opened",))


def _shelves(
    manager: Manager, certificate: ManagedCertificate, bundle: Bundle | LeafChain | None
) -> tuple[Part, ...]:
    if certificate.mode is Mode.NONE:
        return (Part("shelf", "", skipped="the mode is none"),)
    if certificate.csr or isinstance(bundle, LeafChain):
        return (Part("shelf", "", skipped="the key is not ours: it is for a CSR"),)
    if not certificate.hosts:
        return (Part("shelf", "", skipped="an address has no file there"),)
    try:
        shelves = shelves_of(manager, certificate)
    except CertshelfError as error:
        return (Part("shelf", "", problem=str(error), hint=error.hint),)
    return tuple(
        _part(
            Part("shelf", shelf.store.url),
            lambda shelf=shelf: preview_shelf(shelf, certificate.hosts, bundle),  # type: ignore[misc]
        )
        for shelf in shelves
    )


def _task(
    manager: Manager,
    certificate: ManagedCertificate,
    task: Task,
    bundle: Bundle | LeafChain | None,
) -> Part:
    part = Part(task.name, "", skipped=_why_not(certificate, task))
    if task.trigger is Trigger.SKIPPED:
        return part
    try:
        work = parse_task(task.kind, task.settings)
        context = context_of(manager, certificate, task, Situation(task.phase, bundle))
    except CertshelfError as error:
        return replace(part, problem=str(error), hint=error.hint)
    return _part(replace(part, target=work.target), lambda: work.preview(context))


def _why_not(certificate: ManagedCertificate, task: Task) -> str:
    """Why a run that goes well would leave the task out, or ""."""
    if task.phase is Phase.AFTER and certificate.mode is not Mode.AUTO:
        return f"the mode is {certificate.mode.value}"
    return task.skip_reason or should_run(task.trigger, ok=True)


def _part(part: Part, ask: Callable[[], Preview]) -> Part:
    try:
        found = ask()
    except CertshelfError as error:
        return replace(part, problem=str(error), hint=error.hint)
    return replace(part, files=found.files, findings=found.findings, notes=found.notes)

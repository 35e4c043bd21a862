"""The doctor at work: gather what the checks look at from a home, ask the members, examine."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime
from itertools import chain

from certshelf.doctor import bound, drift, files, readers
from certshelf.doctor.base import Check, examine
from certshelf.doctor.checks import CHECKS
from certshelf.doctor.context import (
    CertificateFacts,
    Context,
    FileFacts,
    IssuerFacts,
    ShelfFacts,
)
from certshelf.doctor.explain import Story, explain
from certshelf.errors import CertshelfError, ConfigError, RecordInvalid, StoreError
from certshelf.farm import Binding, Member
from certshelf.finding import Finding
from certshelf.iis import status
from certshelf.manage.asking import ask_members
from certshelf.manage.bindings import bindings_of
from certshelf.manage.doctor_machine import look_at_machine
from certshelf.manage.iis import windows_path
from certshelf.manage.manager import Manager
from certshelf.manage.model import IssuerKind, ManagedCertificate
from certshelf.names import HostName
from certshelf.shelf.access import check as check_share
from certshelf.shelf.access import on_share
from certshelf.shelf.inventory import among, pfx_entries
from certshelf.store.base import Store

_NEED_FILES = (*files.CHECKS, *readers.CHECKS, *bound.CHECKS, *drift.CHECKS)


def run_doctor(
    manager: Manager, only: Collection[str] = (), iis_answers: Iterable[str] = ()
) -> tuple[Finding, ...]:
    """Every check (or those named in only) of everything that this home knows.

    Reads the shelf and asks the members only when a check that was asked for needs it.
    iis_answers: what check scripts wrote on IIS servers, as text.
    """
    store = windows_path(manager.settings.shelf.store)
    answers = [status.findings(status.parse(text), store=store) for text in iis_answers]
    context = gather(
        manager,
        with_files=_wanted(_NEED_FILES, only),
        with_members=_wanted(drift.CHECKS, only),
    )
    told = tuple(chain.from_iterable(answers)) if answers else None
    return examine(replace(context, iis=told), CHECKS, only)


def explain_host(manager: Manager, host: HostName) -> Story:
    """The whole story of one name: looks at its files only, and asks every member for it."""
    context = _records(manager)
    shelf = manager.shelf
    found = []
    for candidate in host.candidates():
        for name in candidate.file_names():
            if (file := shelf.look_at(name)) is not None:
                found.append(FileFacts.of(file, _written_at(manager, name)))
    context = replace(context, files=tuple(found))
    return explain(host, replace(context, served=ask_members(context, [host])))


def gather(manager: Manager, *, with_files: bool = True, with_members: bool = True) -> Context:
    """The context of a home at this moment; what cannot be read is a fact, not an error."""
    context = replace(_records(manager), manager=look_at_machine(manager))
    context = _look_at_shelf(manager, context, with_files)
    if with_members and context.files is not None and any(m.host for m in context.members):
        context = replace(context, served=ask_members(context))
    return context


def _look_at_share(store: Store) -> tuple[Finding, ...]:
    """With a fresh session: a password that was changed does not end an old one."""
    share = on_share(store)
    share.check_login()
    return tuple(check_share(share))


def _wanted(checks: Iterable[Check], only: Collection[str]) -> bool:
    return not only or any(id in only for check in checks for id in check.finding_ids)


def _written_at(manager: Manager, file: str) -> datetime | None:
    """When a file was written, by its record: a look by name, not a listing."""
    try:
        seen = manager.shelf.manifest.read(file)
    except RecordInvalid:
        return None
    return seen[0].written_at if seen else None


def _records(manager: Manager) -> Context:
    """What the database knows, and what the members' configurations say."""
    with manager.database.read() as records:
        members = tuple(records.members.all())
        certificates = tuple(_certificate(c) for c in records.certificates.all())
        issuers = []
        for issuer in records.issuers.all():
            account = records.accounts.find(issuer.name)
            is_acme = issuer.kind is IssuerKind.ACME
            issuers.append(IssuerFacts(issuer.name, is_acme, account.status if account else ""))
    return Context(
        now=manager.clock.now(),
        members=members,
        bindings=_bindings(members),
        certificates=certificates,
        issuers=tuple(issuers),
    )


def _bindings(members: Iterable[Member]) -> dict[str, tuple[Binding, ...]]:
    """By member; one whose file cannot be read has none: `member ls` shows why."""
    found = {}
    for member in members:
        try:
            reading = bindings_of(member)
        except ConfigError:
            continue
        if reading is not None:
            found[member.name] = reading.bindings
    return found


def _certificate(record: ManagedCertificate) -> CertificateFacts:
    how = record.status
    return CertificateFacts(
        name=record.name,
        hosts=record.hosts,
        state=how.state.value,
        mode=record.mode.value,
        issuer=record.issuer,
        auto_renew=record.auto_renew,
        not_after=how.not_after,
        renew_at=how.renew_at,
        retry_at=how.retry_at,
        failures=how.failures,
        last_error=how.last_error,
    )


def _look_at_shelf(manager: Manager, context: Context, with_files: bool) -> Context:
    url = manager.settings.shelf.store
    if not url:
        return context
    try:
        shelf = manager.shelf
        share = _look_at_share(shelf.store) if url.startswith("smb:") else None
        context = replace(context, share=share)
        written = {entry.key: entry.modified for entry in pfx_entries(shelf.store)}
        if not with_files:
            return replace(context, shelf=ShelfFacts(shelf.store.url))
        seen = tuple(FileFacts.of(f, written.get(f.file)) for f in shelf.inventory())
        present = {facts.file: facts.host for facts in seen}
        between = tuple(among(shelf.store, shelf.manifest, present))
    except StoreError as error:
        facts = ShelfFacts(url, f"{error.kind}: {error}", error.hint)
        return replace(context, shelf=facts)
    except CertshelfError as error:
        return replace(context, shelf=ShelfFacts(url, str(error), error.hint))
    return replace(context, shelf=ShelfFacts(shelf.store.url), files=seen, among_files=between)

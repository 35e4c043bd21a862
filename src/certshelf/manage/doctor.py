"""The doctor at work: gather what the checks look at from a home, ask the members, examine."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING

from certshelf.doctor import bound, drift, files, readers
from certshelf.doctor.base import Check, error, examine_all
from certshelf.doctor.checks import CHECKS
from certshelf.doctor.context import (
    CertificateFacts,
    Context,
    CredentialFacts,
    FileFacts,
    IssuerFacts,
    PublishedFolder,
    ShelfFacts,
)
from certshelf.doctor.explain import Story, explain
from certshelf.errors import CertshelfError, ConfigError, RecordError, RecordInvalid, StoreError
from certshelf.farm import Binding, Member
from certshelf.finding import Finding
from certshelf.iis import status
from certshelf.manage.asking import ask_members
from certshelf.manage.bindings import bindings_of
from certshelf.manage.budget import limits_of, share_left
from certshelf.manage.doctor_machine import is_open_to_others, look_at_machine
from certshelf.manage.doctor_outside import look_outside
from certshelf.manage.doctor_share import look_at_share
from certshelf.manage.fallbacks import Accounts
from certshelf.manage.groups import all_groups
from certshelf.manage.iis import store_for, windows_path
from certshelf.manage.manager import Manager
from certshelf.manage.model import IssuerKind, IssuerRecord, ManagedCertificate
from certshelf.manage.publishing import group_settings, open_group_shelf
from certshelf.names import HostName
from certshelf.shelf.inventory import among, pfx_entries
from certshelf.shelf.shelf import Shelf

if TYPE_CHECKING:
    from certshelf.manage.db.records import Records

_NEED_FILES = (*files.CHECKS, *readers.CHECKS, *bound.CHECKS, *drift.CHECKS)


def run_doctor(
    manager: Manager,
    only: Collection[str] = (),
    iis_answers: Iterable[str] = (),
    *,
    deep: bool = False,
) -> tuple[Finding, ...]:
    """Every check (or those named in only) of everything that this home knows.

    Reads the shelf and asks the members only when a check that was asked for needs it.
    iis_answers: what check scripts wrote on IIS servers, as text. deep: also try the challenges
    and ask the CAs for the time, which sends requests to them.
    """
    answers = [_about_iis(manager, status.parse(text)) for text in iis_answers]
    main, *groups = gather(
        manager,
        with_files=_wanted(_NEED_FILES, only),
        with_members=_wanted(drift.CHECKS, only),
        deep=deep,
    )
    told = tuple(chain.from_iterable(answers)) if answers else None
    return examine_all([(main[0], replace(main[1], iis=told)), *groups], CHECKS, only)


def _about_iis(manager: Manager, seen: status.Status) -> tuple[Finding, ...]:
    return status.findings(seen, store=windows_path(store_for(manager, seen.server)))


def no_database(failure: RecordError, only: Collection[str] = ()) -> tuple[Finding, ...]:
    """What there is to say when the records cannot be opened: that, and nothing else was asked."""
    examine_all([], CHECKS, only)  # raises for an unknown id
    return (
        error(
            "database",
            "database",
            str(failure),
            "nothing else can be looked at, nothing is renewed; servers go on with the shelf",
            failure.hint or "stop the manager and restore the newest backup",
        ),
    )


def explain_host(manager: Manager, host: HostName) -> Story:
    """The whole story of one name: looks at its files only, and asks every member for it.

    The file is the main shelf's, or that of the first group that has one; each member is compared
    with the shelf of its own group.
    """
    stories = []
    for group, context in _by_group(manager):
        shelf = open_group_shelf(manager, group) if group else manager.shelf
        seen = replace(context, files=tuple(_files_of(shelf, host)))
        stories.append(explain(host, replace(seen, served=ask_members(seen, [host]))))
    first = next((story for story in stories if story.file), stories[0])
    return replace(
        first,
        bindings=tuple(chain.from_iterable(story.bindings for story in stories)),
        served=tuple(chain.from_iterable(story.served for story in stories)),
    )


def gather(
    manager: Manager,
    *,
    with_files: bool = True,
    with_members: bool = True,
    deep: bool = False,
) -> list[tuple[str, Context]]:
    """The contexts at this moment: the main one, then one for each group of servers.

    What cannot be read is a fact in them, not an error.
    """
    contexts = []
    for group, context in _by_group(manager):
        if not group:
            context = _look_around(manager, context, deep)
        context = _look_at_shelf(manager, group, context, with_files)
        if with_members and context.files is not None and any(m.host for m in context.members):
            context = replace(context, served=ask_members(context))
        contexts.append((group, context))
    return contexts


def _look_around(manager: Manager, context: Context, deep: bool) -> Context:
    """The machine; and with deep what the CAs say."""
    outside = look_outside(manager) if deep else None
    if outside is None:
        return replace(context, manager=look_at_machine(manager))
    machine = look_at_machine(manager, outside.clock_off_seconds)
    return replace(context, manager=machine, challenges=outside.challenges)


def _by_group(manager: Manager) -> list[tuple[str, Context]]:
    """The records, cut by the groups that have a shelf; only the main one has certificates.

    A member of a group that nobody made reads the main shelf.
    """
    whole = _records(manager)
    with manager.database.read() as records:
        groups = [group.name for group in all_groups(records)]
    main = tuple(m for m in whole.members if m.group not in groups)
    contexts = [("", replace(whole, members=main, unread=_among(whole.unread, main)))]
    for group in groups:
        own = tuple(m for m in whole.members if m.group == group)
        unread = _among(whole.unread, own)
        context = Context(whole.now, own, whole.bindings, unread=unread)
        contexts.append((group, context))
    return contexts


def _among(unread: Mapping[str, str], members: Iterable[Member]) -> dict[str, str]:
    return {m.name: unread[m.name] for m in members if m.name in unread}


def _files_of(shelf: Shelf, host: HostName) -> Iterator[FileFacts]:
    for candidate in host.candidates():
        for name in candidate.file_names():
            if (file := shelf.look_at(name)) is not None:
                yield FileFacts.of(file, _written_at(shelf, name))


def _wanted(checks: Iterable[Check], only: Collection[str]) -> bool:
    return not only or any(id in only for check in checks for id in check.finding_ids)


def _written_at(shelf: Shelf, file: str) -> datetime | None:
    """When a file was written, by its record: a look by name, not a listing."""
    try:
        seen = shelf.manifest.read(file)
    except RecordInvalid:
        return None
    return seen[0].written_at if seen else None


def _records(manager: Manager) -> Context:
    """What the database knows, and what the members' configurations say."""
    with manager.database.read() as records:
        members = tuple(records.members.all())
        wishes = records.certificates.all()
        accounts = Accounts.of(records)
        certificates = tuple(_certificate(c, accounts) for c in wishes)
        shelves = [group.store for group in all_groups(records)]
        now = manager.clock.now()
        issuers = tuple(_issuer(records, issuer, now) for issuer in records.issuers.all())
        credentials = records.credentials.all()
    bindings, unread, published = _bindings(members)
    main = manager.settings.shelf.store
    return Context(
        now=now,
        members=members,
        bindings=bindings,
        unread=unread,
        certificates=certificates,
        issuers=issuers,
        credentials=tuple(CredentialFacts(one.name, one.expires_at) for one in credentials),
        shelves=tuple(store for store in (main, *shelves) if store),
        published=(*_webroots(wishes), *published),
    )


def _issuer(records: Records, issuer: IssuerRecord, now: datetime) -> IssuerFacts:
    account = records.accounts.find(issuer.name)
    return IssuerFacts(
        issuer.name,
        acme=issuer.kind is IssuerKind.ACME,
        account=account.status if account else "",
        budget=share_left(records.buckets.of(issuer.name), limits_of(issuer), now),
    )


def _bindings(
    members: Iterable[Member],
) -> tuple[dict[str, tuple[Binding, ...]], dict[str, str], list[PublishedFolder]]:
    """By member: what it listens for, and why its file could not be read; what they publish."""
    found, unread, published = {}, {}, []
    for member in members:
        try:
            reading = bindings_of(member)
        except ConfigError as error:
            unread[member.name] = str(error)
            continue
        if reading is not None:
            found[member.name] = reading.bindings
            what = "the site's folder"
            published += [PublishedFolder(member.name, path, what) for path in reading.folders]
    return found, unread, published


def _webroots(certificates: Iterable[ManagedCertificate]) -> Iterator[PublishedFolder]:
    for one in certificates:
        for choice in one.challenges:
            if webroot := choice.settings.get("webroot"):
                yield PublishedFolder(one.name, webroot, "the --http-webroot", here=True)


def _certificate(record: ManagedCertificate, accounts: Accounts) -> CertificateFacts:
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
        strangers=accounts.strangers(record),
    )


def _look_at_shelf(manager: Manager, group: str, context: Context, with_files: bool) -> Context:
    url = f"the shelf of group {group}" if group else manager.settings.shelf.store
    if not url:
        return context
    if is_open_to_others(manager.home):
        why = "the key file is open to others, so no secret can be used (key-file-mode)"
        return replace(context, shelf=ShelfFacts(url, unasked=why))
    try:
        settings = group_settings(manager, group) if group else manager.settings
        shelf = open_group_shelf(manager, group) if group else manager.shelf
        url = shelf.store.url
        context = replace(context, share=look_at_share(manager.home, settings, shelf.store))
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

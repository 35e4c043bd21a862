"""Plan an import: from what another tool keeps issued to managed certificates of ours. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from certshelf.bundle.keys import KEY_TYPES
from certshelf.manage.certificates import MAX_HOSTS
from certshelf.manage.changes import Action, Change
from certshelf.manage.importing.base import Found
from certshelf.manage.importing.counterparts import BY_HAND
from certshelf.manage.model import (
    ChallengeChoice,
    IssuerRecord,
    ManagedCertificate,
    Mode,
    record_name,
)
from certshelf.manage.settings import CertificateSettings
from certshelf.names import HostName


def plan_import(
    found: Sequence[Found],
    there: Iterable[ManagedCertificate],
    issuers: Sequence[IssuerRecord],
    defaults: CertificateSettings,
    issuer: str = "",
) -> list[Change]:
    """One line for each that was found. What is there already is never changed.

    issuer: for all of them; else the one whose directory they use now, else the default's. The
    same hosts twice are one certificate.
    """
    names = {one.name for one in there}
    taken = {frozenset(one.hosts): one.name for one in there}
    changes = []
    for one in found:
        change = _plan(one, names, taken, issuers, defaults, issuer)
        if change.wish is not None and change.action is Action.ADD:
            names.add(change.name)
            taken[frozenset(change.wish.hosts)] = change.name
        changes.append(change)
    return changes


def _plan(
    one: Found,
    names: set[str],
    taken: dict[frozenset[HostName], str],
    issuers: Sequence[IssuerRecord],
    defaults: CertificateSettings,
    issuer: str,
) -> Change:
    if not one.hosts:
        return Change(one.name, Action.LEFT, notes=one.notes or ("it names no host",))
    if len(one.hosts) > MAX_HOSTS:
        why = f"{len(one.hosts)} hosts, and a CA accepts {MAX_HOSTS}: split it"
        return Change(one.name, Action.LEFT, notes=(*one.notes, why))
    if same := taken.get(frozenset(one.hosts)):
        return Change(one.name, Action.SAME, notes=(f"{same} has the same hosts",))
    notes = list(one.notes)
    key = one.key_type or defaults.key
    if key not in KEY_TYPES:
        notes.append(f"its key is {key}, the next one will be {defaults.key}")
        key = defaults.key
    wish = ManagedCertificate(
        name=_free_name(one, names),
        hosts=one.hosts,
        issuer=issuer or _issuer(one, issuers, defaults, notes),
        key_type=key,
        mode=Mode(defaults.mode),
        auto_renew=one.auto_renew,
        challenges=one.choices or _challenges(one, notes),
    )
    tasks = one.tasks or None
    return Change(wish.name, Action.ADD, wish, notes=tuple(notes), bundle=one.bundle, tasks=tasks)


def _free_name(one: Found, names: set[str]) -> str:
    base = name = record_name(one.name)
    number = 2
    while name in names:
        name, number = f"{base[:60]}-{number}", number + 1
    return name


def _issuer(
    one: Found, issuers: Sequence[IssuerRecord], defaults: CertificateSettings, notes: list[str]
) -> str:
    """Ours of that name or with that directory; a bare server means any directory on it."""
    if not one.issuer:
        return defaults.issuer
    server = urlsplit(one.issuer)
    for record in issuers:
        directory = str(record.settings.get("directory", ""))
        same_server = server.path in ("", "/") and urlsplit(directory).netloc == server.netloc
        if one.issuer == record.name or one.issuer == directory or (directory and same_server):
            return record.name
    notes.append(f"its CA is {one.issuer}: no issuer here uses it, {defaults.issuer} will sign")
    return defaults.issuer


def _challenges(one: Found, notes: list[str]) -> tuple[ChallengeChoice, ...]:
    """Without a counterpart: tls-alpn-01 is the same everywhere, the rest is to be chosen."""
    if any(note.startswith(BY_HAND + "its names") for note in notes):
        return ()
    kind, _, means = one.challenge.partition(" ")
    if kind == "tls-alpn-01":
        return (ChallengeChoice(kind),)
    if kind == "dns-01":
        notes.append(
            f"{BY_HAND}its names are proved by dns-01 ({means or '?'}): choose who writes TXT here"
        )
    elif means and means not in ("standalone", "no", "self-hosting"):
        notes.append(
            f"{BY_HAND}its names are proved by {kind} ({means}): see that this manager answers"
        )
    return ()

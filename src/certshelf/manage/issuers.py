"""Issuers by name: the built-in local CA, made on first use, and what the settings added."""

from __future__ import annotations

from typing import TYPE_CHECKING

from certshelf.clock import Clock
from certshelf.errors import RecordError
from certshelf.issue.local_ca import LocalCa, LocalCaMaterial
from certshelf.manage.model import IssuerKind, IssuerRecord

if TYPE_CHECKING:
    from certshelf.manage.db.records import Records
    from certshelf.manage.manager import Manager

LOCAL = "local"
"""The local CA that every home has, once it is first used."""
_ISSUING = "issuing"


def require_issuer(records: Records, name: str) -> None:
    """RecordError unless there is an issuer of that name; `local` always is."""
    if name != LOCAL and records.issuers.find(name) is None:
        known = ", ".join([LOCAL, *(i.name for i in records.issuers.all() if i.name != LOCAL)])
        raise RecordError(f"there is no issuer {name!r}", hint=f"known: {known}")


def add_local_ca(
    records: Records,
    name: str,
    clock: Clock,
    *,
    permitted_names: tuple[str, ...] = (),
    lifetime_days: float | None = None,
) -> LocalCa:
    """Make a private CA and store it, its key sealed. RecordError when the name is taken."""
    authority = LocalCa.create(f"certshelf {name} CA", clock, permitted_names=permitted_names)
    material = authority.export()
    settings: dict[str, object] = {_ISSUING: material.issuing_pem.decode()}
    if lifetime_days is not None:
        settings["lifetime_days"] = lifetime_days
    record = IssuerRecord(
        name,
        IssuerKind.LOCAL,
        settings,
        certificate=material.root_pem.decode(),
        created_at=clock.now(),
    )
    records.issuers.add(record, material.key)
    records.events.append(clock.now(), "issuer.added", name, {"kind": "local"})
    return authority


def local_ca(records: Records, name: str, clock: Clock) -> LocalCa:
    """The local CA of that name; the one called `local` is made when it is first asked for.

    RecordError when there is none, CredentialError when its key cannot be opened.
    """
    found = records.issuers.find(name)
    if found is None and name == LOCAL:
        return add_local_ca(records, name, clock)
    record = found or records.issuers.get(name)
    key = records.issuers.key(name)
    if record.kind is not IssuerKind.LOCAL or key is None:
        raise RecordError(f"{name} is no local CA", hint="certshelf issuer ls")
    issuing = str(record.settings[_ISSUING]).encode()
    return LocalCa.load(LocalCaMaterial(record.certificate.encode(), issuing, key), clock)


def root_pem(manager: Manager, name: str) -> bytes:
    """The root of a local CA: what clients are told to trust."""
    with manager.database.write() as records:
        return local_ca(records, name, manager.clock).root_pem()


def all_issuers(records: Records) -> list[IssuerRecord]:
    """All issuers by name, `local` among them even before it is first used."""
    found = records.issuers.all()
    if any(record.name == LOCAL for record in found):
        return found
    return sorted([*found, IssuerRecord(LOCAL, IssuerKind.LOCAL)], key=lambda r: r.name)

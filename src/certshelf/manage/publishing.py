"""Publish a managed certificate on every shelf that it belongs to, and log every file."""

from __future__ import annotations

from dataclasses import replace

from certshelf.bundle.model import Bundle
from certshelf.manage.groups import get_group
from certshelf.manage.manager import Manager
from certshelf.manage.model import ManagedCertificate
from certshelf.manage.rotation import rotation_target
from certshelf.manage.shelves import open_shelf_of
from certshelf.shelf.publish import Outcome, Result
from certshelf.shelf.shelf import Shelf


def shelves_of(manager: Manager, certificate: ManagedCertificate) -> tuple[Shelf, ...]:
    """The shelves of a certificate's groups; without groups the main one, and during a change of
    its password also the one that takes its place.
    """
    if certificate.groups:
        return tuple(open_group_shelf(manager, name) for name in certificate.groups)
    target = rotation_target(manager)
    return (manager.shelf, target) if target else (manager.shelf,)


def open_group_shelf(manager: Manager, name: str) -> Shelf:
    """The shelf of a group of servers; RecordError when there is no such group."""
    with manager.database.read() as records:
        group = get_group(records, name)
    main = manager.settings.shelf
    settings = replace(
        main,
        store=group.store,
        store_credential=group.store_credential or main.store_credential,
        password_credential=group.password_credential or main.password_credential,
    )
    return open_shelf_of(manager.home, replace(manager.settings, shelf=settings), name)


def publish_certificate(
    manager: Manager, certificate: ManagedCertificate, bundle: Bundle, *, adopt: bool = False
) -> tuple[Result, ...]:
    """Put a bundle on each shelf of its certificate; one result a file, failures among them.

    What this manager issued last is the newest there is, so an older not-after is no obstacle.
    """
    results: list[Result] = []
    for shelf in shelves_of(manager, certificate):
        publication = shelf.publish(bundle, certificate.hosts, adopt=adopt, older=True)
        results.extend(publication.results)
    _log(manager, bundle, results)
    return tuple(results)


def _log(manager: Manager, bundle: Bundle, results: list[Result]) -> None:
    now = manager.clock.now()
    with manager.database.write() as records:
        for result in results:
            if result.outcome is Outcome.UNCHANGED:
                continue
            data = {
                "outcome": result.outcome.value,
                "where": result.where,
                "old_thumbprint": result.old_thumbprint,
                "thumbprint": bundle.thumbprint,
            }
            if result.error:
                data["error"] = str(result.error)
            kind = "file.published" if result.ok else "file.failed"
            records.events.append(now, kind, result.file, data)

"""Publish a managed certificate on every shelf that it belongs to, and log every file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from certshelf.bundle.model import Bundle, LeafChain
from certshelf.errors import BundleError, RecordError, ShelfError
from certshelf.manage.credentials import read_secret
from certshelf.manage.groups import get_group
from certshelf.manage.manager import Manager
from certshelf.manage.model import ManagedCertificate
from certshelf.manage.rotation import rotation_target
from certshelf.manage.settings import Settings
from certshelf.manage.shelves import open_shelf_of
from certshelf.secret import Secret
from certshelf.shelf.publish import Outcome, Result
from certshelf.shelf.shelf import Shelf

if TYPE_CHECKING:
    from certshelf.manage.db.records import Records


def shelves_of(manager: Manager, certificate: ManagedCertificate) -> tuple[Shelf, ...]:
    """The shelves of a certificate's groups; without groups the main one, and during a change of
    its password also the one that takes its place. A password of the certificate's own holds there.
    """
    if certificate.groups:
        shelves = tuple(open_group_shelf(manager, name) for name in certificate.groups)
    else:
        target = rotation_target(manager)
        shelves = (manager.shelf, target) if target else (manager.shelf,)
    if not certificate.password_credential:
        return shelves
    own = read_secret(manager.home, manager.settings, certificate.password_credential)
    return tuple(shelf.under_password(own) for shelf in shelves)


def password_credential(manager: Manager, certificate: ManagedCertificate) -> str:
    """The credential with the password of a certificate's PFX files.

    RecordError when it belongs to groups that have different ones and has none of its own.
    """
    if certificate.password_credential:
        return certificate.password_credential
    main = manager.settings.shelf.password_credential
    with manager.database.read() as records:
        groups = [get_group(records, name) for name in certificate.groups]
    found = {group.password_credential or main for group in groups} or {main}
    if len(found) > 1:
        raise RecordError(
            f"the groups of {certificate.name} have different PFX passwords",
            hint="say which one the task uses: --set password=CREDENTIAL",
        )
    return found.pop()


def open_group_shelf(manager: Manager, name: str) -> Shelf:
    """The shelf of a group of servers; RecordError when there is no such group."""
    return open_shelf_of(manager.home, group_settings(manager, name), name)


def group_settings(manager: Manager, name: str) -> Settings:
    """The settings as they are for a group of servers; RecordError when there is no such group."""
    with manager.database.read() as records:
        group = get_group(records, name)
    main = manager.settings.shelf
    shelf = replace(
        main,
        store=group.store,
        store_credential=group.store_credential or main.store_credential,
        password_credential=group.password_credential or main.password_credential,
        reader_credential=group.reader_credential,
    )
    return replace(manager.settings, shelf=shelf)


def publish_certificate(
    manager: Manager, certificate: ManagedCertificate, bundle: Bundle, *, adopt: bool = False
) -> tuple[Result, ...]:
    """Put a bundle on each shelf of its certificate, and log each file that changed or failed."""
    results = put_on_shelves(manager, certificate, bundle, adopt=adopt)
    with manager.database.write() as records:
        opened = credentials_of(records, manager, certificate)
        log_files(records, manager.clock.now(), bundle, results, opened)
    return results


def put_on_shelves(
    manager: Manager, certificate: ManagedCertificate, bundle: Bundle, *, adopt: bool = False
) -> tuple[Result, ...]:
    """The same without the log; one result a file, failures among them.

    What this manager issued last is the newest there is, so an older not-after is no obstacle.
    Safe to repeat: a file that is as it should be is left alone. A certificate for addresses only
    has no file.
    """
    if not certificate.hosts:
        return ()
    return tuple(
        result
        for shelf in shelves_of(manager, certificate)
        for result in shelf.publish(bundle, certificate.hosts, adopt=adopt, older=True).results
    )


def failure(results: Sequence[Result]) -> ShelfError | None:
    """One error for all files that are not what they should be, or None."""
    left = [result for result in results if result.error is not None]
    if not left or left[0].error is None:
        return None
    files = ", ".join(result.file for result in left)
    error = ShelfError(f"{files} not published: {left[0].error}", hint=left[0].error.hint)
    error.__cause__ = left[0].error
    return error


def credentials_of(
    records: Records, manager: Manager, certificate: ManagedCertificate
) -> tuple[str, ...]:
    """The names of the secrets that publishing a certificate opens: PFX passwords, logins."""
    main = manager.settings.shelf
    groups = [get_group(records, name) for name in certificate.groups]
    names = [
        name
        for shelf in groups or (main,)
        for name in (
            shelf.password_credential or main.password_credential,
            shelf.store_credential or main.store_credential,
        )
    ]
    names.append(certificate.password_credential)
    return tuple(dict.fromkeys(name for name in names if name))


def log_files(
    records: Records,
    now: datetime,
    bundle: Bundle,
    results: Sequence[Result],
    credentials: Sequence[str] = (),
) -> None:
    """One event for each file that changed or failed, with the names of the secrets it used."""
    for result in results:
        if result.outcome is Outcome.UNCHANGED:
            continue
        data: dict[str, str | list[str]] = {
            "outcome": result.outcome.value,
            "where": result.where,
            "old_thumbprint": result.old_thumbprint,
            "thumbprint": bundle.thumbprint,
            "credentials": list(credentials),
        }
        if result.error:
            data["error"] = str(result.error)
        kind = "file.published" if result.ok else "file.failed"
        records.events.append(now, kind, result.file, data)


def publishable_bundle(records: Records, certificate: ManagedCertificate) -> Bundle:
    """What was issued last for a certificate, with its key; BundleError without either."""
    return publishable(certificate, issued_bundle(records, certificate))


def publishable(certificate: ManagedCertificate, bundle: Bundle | LeafChain) -> Bundle:
    """The bundle; BundleError when its key is not ours."""
    if isinstance(bundle, LeafChain):
        raise BundleError(
            f"the private key of {certificate.name} is not ours: it is for somebody else's CSR",
            hint=f"certshelf cert chain {certificate.name} prints the certificate",
        )
    return bundle


def issued_bundle(records: Records, certificate: ManagedCertificate) -> Bundle | LeafChain:
    """What was issued last for a certificate; BundleError when there is none."""
    issued = records.issued.newest(certificate.id)
    if issued is None:
        raise BundleError(f"nothing was issued for {certificate.name} yet")
    return bundle_of(records.issued.key(issued), issued.chain)


def bundle_of(key: Secret | None, chain: str) -> Bundle | LeafChain:
    """A bundle from the sealed key, None when it is not ours, and the chain in PEM, leaf first."""
    leaf, *others = x509.load_pem_x509_certificates(chain.encode())
    if key is None:
        return LeafChain(leaf, tuple(others))
    loaded = load_pem_private_key(key.reveal_bytes(), None)
    return Bundle(loaded, leaf, tuple(others))  # type: ignore[arg-type]  # generate() made it

"""Take over one certificate with its key from a PFX or PEM file, without its issuer."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certshelf.bundle.inspect import MAX_BYTES
from certshelf.bundle.model import Bundle
from certshelf.errors import BundleError, RecordError
from certshelf.issue.acme.issuer import names_of
from certshelf.manage.certificates import require_possible
from certshelf.manage.changes import issued_record
from certshelf.manage.manager import Manager
from certshelf.manage.model import ManagedCertificate, State
from certshelf.manage.plan import renewal_time
from certshelf.secret import Secret


def read_bundle(file: Path, password: Secret | None) -> Bundle:
    """The bundle in a file; BundleError when it cannot be read or names no host of a shelf."""
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise BundleError(f"cannot read {file}: {error.strerror}") from error
    is_pem = b"-----BEGIN " in data
    bundle = Bundle.from_pem(data, password) if is_pem else Bundle.from_pfx(data, password)
    if not bundle.names:
        raise BundleError(f"the certificate in {file} holds no host name of a shelf")
    return bundle


def import_bundle(manager: Manager, wish: ManagedCertificate, bundle: Bundle) -> ManagedCertificate:
    """Store a bundle as the newest of a certificate, which is added when it is not there.

    Nothing is published. RecordError when a certificate of that name has other hosts, or when a
    request of it is under way. Safe to repeat.
    """
    now = manager.clock.now()
    key = bundle.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with manager.database.write() as records:
        found = records.certificates.find(wish.name)
        if found is None:
            require_possible(records, wish)
            found = records.certificates.add(replace(wish, created_at=now))
            data = {"hosts": list(found.names), "issuer": found.issuer}
            records.events.append(now, "certificate.added", found.name, data)
        _refuse_unfit(found, bundle, busy=records.orders.open_of(found.id) is not None)
        last = records.issued.newest(found.id)
        if last is None or last.thumbprint_sha256 != bundle.sha256:
            generation = last.generation + 1 if last else 1
            record = replace(issued_record(found, bundle, now), generation=generation)
            records.issued.put(record, Secret(key.decode()))
            data = {"serial": bundle.serial, "thumbprint": bundle.thumbprint}
            records.events.append(now, "certificate.imported", found.name, data)
        renew_at = renewal_time(bundle.not_before, bundle.not_after, random.Random())  # noqa: S311
        status = replace(
            found.status,
            state=State.VALID,
            generation=found.status.generation + 1,
            thumbprint=bundle.thumbprint,
            serial=bundle.serial,
            not_before=bundle.not_before,
            not_after=bundle.not_after,
            renew_at=renew_at,
            retry_at=None,
            failures=0,
            last_error="",
            ari_id="",
            ari_next_at=None,
        )
        records.certificates.set_status(found.id, status)
        return records.certificates.get(wish.name)


def _refuse_unfit(found: ManagedCertificate, bundle: Bundle, *, busy: bool) -> None:
    if found.csr:
        raise RecordError(
            f"cannot import for {found.name}: it is for a CSR, and that has its own key",
            hint="give it a --name of its own",
        )
    missing = [host.ascii for host in found.hosts if not bundle.covers(host)]
    missing += sorted(set(found.addresses) - names_of(bundle.leaf))
    if missing:
        raise RecordError(
            f"cannot import for {found.name}: the certificate does not cover {', '.join(missing)}",
            hint="give it a --name of its own, or change the hosts: certshelf cert edit",
        )
    if busy:
        raise RecordError(
            f"cannot import for {found.name}: a request of it is under way",
            hint=f"certshelf cert request {found.name} ends it",
        )

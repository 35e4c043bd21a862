"""Revoke a managed certificate at the CA that issued it, and remember that it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from certshelf.errors import RecordError
from certshelf.issue.acme.certificate import Reason, revoke
from certshelf.issue.acme.client import AcmeClient
from certshelf.manage.accounts import client_settings
from certshelf.manage.engine import Engine
from certshelf.manage.model import IssuedRecord, IssuerKind, ManagedCertificate, State
from certshelf.manage.publishing import issued_bundle, publishable

if TYPE_CHECKING:
    from certshelf.bundle.model import Bundle, LeafChain
    from certshelf.manage.db.records import Records
    from certshelf.manage.manager import Manager


async def revoke_certificate(
    manager: Manager, name: str, reason: str, *, by_key: bool = False
) -> str:
    """Revoke the newest certificate of a name; its serial. Safe to repeat.

    by_key: signed with the certificate's own key, when our account is gone or closed (RFC 8555
    section 7.6); BundleError when that key is not ours.
    reason: a word of certificate.Reason. The next request makes a new one with a new key; it is
    not renewed by itself. RecordError when nothing was issued or the local CA signed it, which
    has no revocation: its leaves live for days.
    """
    why = Reason[reason]

    def ask(records: Records) -> tuple[ManagedCertificate, IssuedRecord | None, Bundle | LeafChain]:
        certificate = records.certificates.get(name)
        issued = records.issued.newest(certificate.id)
        signer = records.issuers.find(issued.issuer) if issued else None
        if signer and signer.kind is IssuerKind.LOCAL:
            raise RecordError(
                f"{name} is from the local CA, which has no revocation: its leaves live for days",
                hint=f"certshelf cert request {name} --force makes a new one",
            )
        return certificate, issued, issued_bundle(records, certificate)

    async with Engine(manager) as engine:
        certificate, issued, bundle = await engine.desk.read(ask)
        if issued is None:
            raise RecordError(f"nothing was issued for {name} yet")
        if by_key:
            await _by_key(engine, issued.issuer, publishable(certificate, bundle), why)
        else:
            signer = await engine.acme(issued.issuer)
            await signer.revoke(bundle.leaf, why)
        now = engine.clock.now()

        def note(records: Records) -> None:
            records.issued.set_revoked(issued, now)
            found = records.certificates.by_id(certificate.id)
            status = replace(found.status, state=State.REVOKED)
            records.certificates.set_status(found.id, status)
            data = {"serial": bundle.serial, "reason": reason}
            records.events.append(now, "certificate.revoked", name, data)

        await engine.desk.write(note)
    return bundle.serial


async def _by_key(engine: Engine, issuer: str, bundle: Bundle, why: Reason) -> None:
    record = await engine.desk.read(lambda records: records.issuers.get(issuer))
    async with AcmeClient(client_settings(record), clock=engine.clock) as client:
        await revoke(client, bundle.key, bundle.leaf, why)

"""The pipeline: one certificate from wish to shelf, in steps that can each be killed and repeated.

    new -> ordered -> authorized -> key-sealed -> finalized -> downloaded -> verified -> published
        -> done

State is in the order's record. A step looks before it acts, and what it reached is written before
the next one begins, under the generation that this process claimed: a late writer changes nothing.
"""

from __future__ import annotations

import asyncio
import base64
import os
import random
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from certshelf.bundle.check import check
from certshelf.bundle.keys import generate
from certshelf.bundle.model import Bundle
from certshelf.errors import (
    BundleError,
    BundleRefused,
    CertshelfError,
    IssueError,
    RecordBusy,
    ShelfError,
    StoreError,
)
from certshelf.manage.issuers import local_ca
from certshelf.manage.manager import Manager
from certshelf.manage.model import (
    CertificateStatus,
    IssuedRecord,
    ManagedCertificate,
    Mode,
    OrderRecord,
    State,
    Step,
)
from certshelf.manage.plan import is_due, renewal_time, retry_time
from certshelf.manage.publishing import publish_certificate
from certshelf.manage.signing import Changes, LocalSigner, Signer, make_csr
from certshelf.secret import Secret
from certshelf.shelf.publish import Outcome, Result

if TYPE_CHECKING:
    from certshelf.manage.db.records import Records

LEASE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one request. error is None exactly when all of it was done and read back."""

    outcome: str
    bundle: Bundle | None = None
    results: tuple[Result, ...] = ()
    error: CertshelfError | None = None

    @property
    def ok(self) -> bool:
        """Whether everything was done."""
        return self.error is None


@dataclass
class Work:
    """What the steps of one order share."""

    manager: Manager
    certificate: ManagedCertificate
    order: OrderRecord
    signer: Signer
    adopt: bool = False
    progress: Callable[[str], None] = lambda text: None
    bundle: Bundle | None = None
    results: list[Result] = field(default_factory=list)


async def request_certificate(
    manager: Manager,
    name: str,
    *,
    force: bool = False,
    adopt: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> Run:
    """Issue and publish a certificate if it is due, or go on where a killed run stopped.

    When it is not due, what was issued last is published again: files that are as they should be
    are left alone, missing and damaged ones are repaired. force: a new certificate in any case.
    A failure is in the result, in the record and in the event log; the old files stay.
    Raises RecordError for an unknown name, or when another process works on it.
    """
    with manager.database.read() as records:
        certificate = records.certificates.get(name)
        is_open = records.orders.open_of(certificate.id) is not None
    if not force and not is_open and not is_due(certificate, manager.clock.now()):
        return _publish_again(manager, certificate, adopt)
    work = Work(manager, certificate, *_claim(manager, certificate), adopt, progress)
    try:
        await _advance(work)
    except CertshelfError as error:
        _failed(work, error)
        return Run("failed", work.bundle, tuple(work.results), error)
    return Run("issued", work.bundle, tuple(work.results))


async def _advance(work: Work) -> None:
    """Take step after step until the order is done; each is on disk before the next begins."""
    while not work.order.step.is_final:
        work.progress(work.order.step.value)
        changes, key = await _STEPS[work.order.step](work)
        with work.manager.database.write() as records:
            records.orders.checkpoint(work.order, key, **changes)
            work.order = records.orders.get(work.order.id)


def _claim(manager: Manager, certificate: ManagedCertificate) -> tuple[OrderRecord, Signer]:
    now = manager.clock.now()
    with manager.database.write() as records:
        signer = _signer(manager, records, certificate)
        order = records.orders.open_of(certificate.id) or records.orders.start(
            certificate.id, certificate.issuer, now
        )
        claimed = records.orders.claim(order.id, now, _who(), now + LEASE)
    if claimed is None:
        raise RecordBusy(
            f"{certificate.name} is being issued by {order.lease_owner}",
            hint="wait for it; after a crash it is free again in ten minutes",
        )
    return claimed, signer


def _who() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _signer(manager: Manager, records: Records, certificate: ManagedCertificate) -> Signer:
    authority = local_ca(records, certificate.issuer, manager.clock)
    record = records.issuers.get(certificate.issuer)
    return LocalSigner(authority, record.settings.get("lifetime_days"))


# --- the steps: each returns what to write into the order's record, and the key to seal there


Stepped = tuple[Changes, Secret | None]


async def _order(work: Work) -> Stepped:
    return {**await work.signer.order(work.order, work.certificate), "step": Step.ORDERED}, None


async def _authorize(work: Work) -> Stepped:
    changes = await work.signer.authorize(work.order, work.certificate)
    return {**changes, "step": Step.AUTHORIZED}, None


async def _seal_key(work: Work) -> Stepped:
    """The key is on disk, sealed, before the CA is asked to finalise: a crash burns nothing."""
    key = await asyncio.to_thread(generate, work.certificate.key_type)
    csr = make_csr(key, work.certificate.hosts)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    changes = {"csr": base64.b64encode(csr).decode(), "step": Step.KEY_SEALED}
    return changes, Secret(pem.decode())


async def _finalize(work: Work) -> Stepped:
    changes = await work.signer.finalize(work.order, base64.b64decode(work.order.csr))
    return {**changes, "step": Step.FINALIZED}, None


async def _download(work: Work) -> Stepped:
    chain = await work.signer.download(work.order, base64.b64decode(work.order.csr))
    text = "".join(c.public_bytes(Encoding.PEM).decode() for c in chain)
    return {"chain": text, "step": Step.DOWNLOADED}, None


async def _verify(work: Work) -> Stepped:
    """What the CA gave is what was asked for; from here on it is kept, whatever publishing does."""
    manager, certificate = work.manager, work.certificate
    with manager.database.read() as records:
        key = records.orders.key(work.order.id)
    bundle = work.bundle = _bundle(key, work.order.chain)
    now = manager.clock.now()
    for host in certificate.hosts:
        refusal = check(bundle, host, now)
        if refusal is not None:
            raise BundleRefused(f"{certificate.issuer} issued something else: {refusal}")
    with manager.database.write() as records:
        issued = records.issued.newest(certificate.id)
        if issued is None or issued.serial != bundle.serial:
            generation = issued.generation + 1 if issued else 1
            records.issued.put(_issued(work, bundle, generation), key)
            data = {"serial": bundle.serial, "thumbprint": bundle.thumbprint}
            records.events.append(now, "certificate.issued", certificate.name, data)
    return {"step": Step.VERIFIED}, None


async def _publish(work: Work) -> Stepped:
    bundle = work.bundle or _issued_bundle(work.manager, work.certificate)
    work.bundle = bundle
    if work.certificate.mode is not Mode.NONE:
        await asyncio.to_thread(_put_on_shelf, work, bundle)
    return {"step": Step.PUBLISHED}, None


async def _finish(work: Work) -> Stepped:
    now = work.manager.clock.now()
    bundle = work.bundle or _issued_bundle(work.manager, work.certificate)
    work.bundle = bundle
    status = CertificateStatus(
        state=State.VALID,
        generation=work.certificate.status.generation + 1,
        thumbprint=bundle.thumbprint,
        serial=bundle.serial,
        not_before=bundle.not_before,
        not_after=bundle.not_after,
        renew_at=renewal_time(bundle.not_before, bundle.not_after, random.Random()),  # noqa: S311
        last_run_at=now,
    )
    with work.manager.database.write() as records:
        records.certificates.set_status(work.certificate.id, status)
        records.events.append(now, "certificate.done", work.certificate.name)
    return {"step": Step.DONE, "finished_at": now, "error": ""}, None


_STEPS: dict[Step, Callable[[Work], Awaitable[Stepped]]] = {
    Step.NEW: _order,
    Step.ORDERED: _authorize,
    Step.AUTHORIZED: _seal_key,
    Step.KEY_SEALED: _finalize,
    Step.FINALIZED: _download,
    Step.DOWNLOADED: _verify,
    Step.VERIFIED: _publish,
    Step.PUBLISHED: _finish,
}


def _put_on_shelf(work: Work, bundle: Bundle) -> None:
    """Publish, and fail when one of the files is not what it should be."""
    results = publish_certificate(work.manager, work.certificate, bundle, adopt=work.adopt)
    work.results.extend(results)
    left = [result for result in results if result.error is not None]
    if left and left[0].error:
        files = ", ".join(result.file for result in left)
        raise ShelfError(
            f"{files} not published: {left[0].error}", hint=left[0].error.hint
        ) from left[0].error


def _publish_again(manager: Manager, certificate: ManagedCertificate, adopt: bool) -> Run:
    bundle = _issued_bundle(manager, certificate)
    if certificate.mode is Mode.NONE:
        return Run("not due", bundle)
    results = publish_certificate(manager, certificate, bundle, adopt=adopt)
    failed = next((r.error for r in results if r.error), None)
    changed = any(r.outcome is not Outcome.UNCHANGED for r in results)
    outcome = "failed" if failed else "published again" if changed else "not due"
    return Run(outcome, bundle, results, failed)


def _failed(work: Work, error: CertshelfError) -> None:
    """Remember the failure; an order that the CA refused for good is closed, others are resumed."""
    now = work.manager.clock.now()
    status = work.certificate.status
    failures = status.failures + 1
    wanted = error.retry_at if isinstance(error, IssueError) else None
    retry_at = wanted or retry_time(failures, now, random.Random())  # noqa: S311
    resumable = isinstance(error, (StoreError, ShelfError)) or error.retryable
    with work.manager.database.write() as records:
        if resumable:
            records.orders.checkpoint(work.order, error=str(error))
            records.orders.release(work.order, retry_at)
        else:
            records.orders.checkpoint(
                work.order, step=Step.FAILED, error=str(error), finished_at=now
            )
        records.certificates.set_status(
            work.certificate.id,
            replace(
                status,
                state=State.FAILED,
                failures=failures,
                last_error=str(error),
                last_run_at=now,
                retry_at=retry_at,
            ),
        )
        records.events.append(
            now, "certificate.failed", work.certificate.name, {"error": str(error)}
        )


def _issued(work: Work, bundle: Bundle, generation: int) -> IssuedRecord:
    return IssuedRecord(
        certificate_id=work.certificate.id,
        generation=generation,
        issuer=work.order.issuer,
        thumbprint=bundle.thumbprint,
        thumbprint_sha256=bundle.sha256,
        serial=bundle.serial,
        key_type=bundle.key_type,
        not_before=bundle.not_before,
        not_after=bundle.not_after,
        issued_at=work.manager.clock.now(),
        chain=work.order.chain,
    )


def _issued_bundle(manager: Manager, certificate: ManagedCertificate) -> Bundle:
    """What was issued last for a certificate, with its key; BundleError when there is none."""
    with manager.database.read() as records:
        issued = records.issued.newest(certificate.id)
        key = records.issued.key(issued) if issued else None
    if issued is None:
        raise BundleError(f"nothing was issued for {certificate.name} yet")
    return _bundle(key, issued.chain)


def _bundle(key: Secret | None, chain: str) -> Bundle:
    if key is None:
        raise BundleError("the private key is not ours: a certificate for somebody else's CSR")
    loaded = load_pem_private_key(key.reveal_bytes(), None)
    leaf, *others = x509.load_pem_x509_certificates(chain.encode())
    return Bundle(loaded, leaf, tuple(others))  # type: ignore[arg-type]  # generate() made it

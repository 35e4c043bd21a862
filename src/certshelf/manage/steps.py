"""The steps of one order: each looks before it acts, and may be killed and repeated.

A step returns what to write into the order's record and the key to seal there. What it writes into
other records goes into the same transaction as its checkpoint.
"""

from __future__ import annotations

import asyncio
import base64
import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from certshelf.bundle.check import check
from certshelf.bundle.model import Bundle, Leaf, LeafChain, PrivateKey
from certshelf.deploy.triggers import Phase
from certshelf.errors import BundleRefused, CertshelfError, DeployError, HeldBack
from certshelf.issue.acme.ari import cert_id
from certshelf.issue.acme.csr import build
from certshelf.issue.acme.identifiers import identifiers
from certshelf.issue.acme.issuer import names_of
from certshelf.manage.accounts import load, pem
from certshelf.manage.budget import NONE
from certshelf.manage.engine import Engine
from certshelf.manage.foreign import der_of, require_same_key
from certshelf.manage.model import (
    CertificateStatus,
    IssuedRecord,
    IssuerKind,
    ManagedCertificate,
    Mode,
    OrderRecord,
    State,
    Step,
    Task,
)
from certshelf.manage.plan import first_ask, renewal_time
from certshelf.manage.publishing import (
    bundle_of,
    credentials_of,
    failure,
    issued_bundle,
    log_files,
    put_on_shelves,
)
from certshelf.manage.signing import Changes
from certshelf.manage.tasks import Situation, done_in, record, run_tasks
from certshelf.manage.tasks import failure as failure_of_tasks
from certshelf.secret import Secret
from certshelf.shelf.publish import Result

if TYPE_CHECKING:
    from certshelf.manage.db.records import Records


_FRESH_S = 5.0
"""How old the last proof of our claim may be when we publish."""


@dataclass
class Work:
    """What the steps of one order share. by_hand: a person asked for it, and waits.
    tried: the issuers that could not, in this run. has_tasks: whether the certificate had some when
    the order was claimed. unwritten: what was reached since the last
    checkpoint, which was at the monotonic moment written_at."""

    engine: Engine
    certificate: ManagedCertificate
    order: OrderRecord
    adopt: bool = False
    by_hand: bool = False
    progress: Callable[[str], None] = lambda text: None
    key: Secret | None = None
    new_key: asyncio.Future[PrivateKey] | None = None
    bundle: Bundle | LeafChain | None = None
    results: list[Result] = field(default_factory=list)
    tried: set[str] = field(default_factory=set)
    has_tasks: bool = True
    unwritten: Changes = field(default_factory=dict)
    written_at: float = 0.0

    @property
    def now(self) -> datetime:
        """The moment."""
        return self.engine.clock.now()

    @property
    def csr(self) -> bytes:
        """The CSR in DER."""
        return base64.b64decode(self.order.csr)


@dataclass(frozen=True, slots=True)
class Stepped:
    """What a step reached. also: what else is written in the same transaction."""

    changes: Changes
    key: Secret | None = None
    also: Callable[[Records], None] = lambda records: None


async def order(work: Work) -> Stepped:
    """Open an order at the CA, unless our own limits, a back-off or the clock say later."""
    engine, certificate = work.engine, work.certificate
    _begin_key(work)
    signer = await engine.signer(work.order.issuer)
    await _check_clock(work)
    if error := await run_phase(work, Phase.BEFORE):
        raise error
    await _spend(work)
    changes = await signer.order(work.order, certificate)
    return Stepped({"step": Step.ORDERED, **changes})


async def authorize(work: Work) -> Stepped:
    """Prove every name."""
    _begin_key(work)
    signer = await work.engine.signer(work.order.issuer)
    changes = await signer.authorize(work.order, work.certificate)
    return Stepped({"step": Step.AUTHORIZED, **changes})


async def seal_key(work: Work) -> Stepped:
    """The key is on disk, sealed, before the CA is asked to finalise: a crash burns nothing."""
    if work.certificate.csr:
        csr = await asyncio.to_thread(der_of, work.certificate)
        return Stepped({"csr": base64.b64encode(csr).decode(), "step": Step.KEY_SEALED})
    kept = await _kept_key(work) if work.certificate.reuse_key else None
    key = kept or await _new_key(work)
    csr = build(key, identifiers(work.certificate.names))
    work.key = pem(key)
    changes = {"csr": base64.b64encode(csr).decode(), "step": Step.KEY_SEALED}
    return Stepped(changes, work.key)


async def finalize(work: Work) -> Stepped:
    """Send the CSR."""
    signer = await work.engine.signer(work.order.issuer)
    changes = await signer.finalize(work.order, work.csr)
    return Stepped({"step": Step.FINALIZED, **changes})


async def download(work: Work) -> Stepped:
    """Fetch the leaf and its chain."""
    signer = await work.engine.signer(work.order.issuer)
    chain = await signer.download(work.order, work.certificate, work.csr)
    if chain is None:
        return Stepped({"step": Step.KEY_SEALED})
    text = "".join(c.public_bytes(Encoding.PEM).decode() for c in chain)
    return Stepped({"chain": text, "step": Step.DOWNLOADED})


async def verify(work: Work) -> Stepped:
    """What the CA gave is what was asked for; from here on it is kept, whatever publishing does."""
    certificate = work.certificate
    if work.key is None:
        work.key = await work.engine.desk.read(lambda r: r.orders.key(work.order.id))
    bundle = work.bundle = bundle_of(work.key, work.order.chain)
    if work.key is None:
        require_same_key(bundle.leaf, work.order.csr)
    now = work.now
    for host in certificate.hosts or (None,):
        refusal = check(bundle, host, now)
        if refusal is not None:
            raise BundleRefused(f"{work.order.issuer} issued something else: {refusal}")
    if missing := set(certificate.addresses) - names_of(bundle.leaf):
        raise BundleRefused(f"{work.order.issuer} issued nothing for {', '.join(sorted(missing))}")
    keep = functools.partial(_keep, work=work, bundle=bundle, now=now)
    return Stepped({"step": Step.VERIFIED}, also=keep)


async def publish(work: Work) -> Stepped:
    """Put the bundle on the shelf under each name; one file that fails fails the step.

    The claim has just been proved: who lost the order to another manager publishes nothing.
    """
    engine = work.engine
    bundle = await _issued(work)
    if work.certificate.mode is Mode.NONE or isinstance(bundle, LeafChain):
        return Stepped({"step": Step.PUBLISHED})
    _wait_for_window(work)
    if engine.clock.monotonic() - work.written_at > _FRESH_S:
        until = work.now + engine.lease
        await engine.desk.write(lambda records: records.orders.extend(work.order, until))
    results = await asyncio.get_running_loop().run_in_executor(
        engine.publishers,
        functools.partial(
            put_on_shelves, engine.manager, work.certificate, bundle, adopt=work.adopt
        ),
    )
    work.results.extend(results)
    now = work.now

    def also(records: Records) -> None:
        opened = credentials_of(records, engine.manager, work.certificate)
        log_files(records, now, bundle, results, opened)

    if error := failure(results):
        await engine.desk.write(also)
        raise error
    if work.has_tasks:
        return Stepped({"step": Step.PUBLISHED}, also=also)
    return _done(work, _valid(work, bundle, now), now, also)


async def tasks(work: Work) -> Stepped:
    """Run the certificate's deployment tasks; one that fails fails the step.

    What is on the shelf counts from here on, whatever the tasks do: the status shows it.
    """
    if work.certificate.mode is Mode.AUTO and not work.results:
        _wait_for_window(work)  # published by an earlier run: this one may be outside a window
    now, bundle = work.now, await _issued(work)
    before, status = work.certificate.status, _valid(work, bundle, now)
    work.certificate = replace(work.certificate, status=replace(status, failures=before.failures))
    if error := await run_phase(work, Phase.AFTER):
        raise error
    return _done(work, status, now)


async def run_phase(
    work: Work, phase: Phase, request_error: CertshelfError | None = None
) -> DeployError | None:
    """Run and record the tasks of a phase; what failed in them.

    request_error: why the run failed before its tasks; then those on error run. After the request,
    only a certificate in mode auto has tasks.
    """
    engine, certificate = work.engine, work.certificate
    if not work.has_tasks or (phase is Phase.AFTER and certificate.mode is not Mode.AUTO):
        return None
    planned = await engine.desk.read(functools.partial(_planned, work=work, phase=phase))
    if planned is None:
        return None
    wanted, situation = planned
    if request_error is not None:
        issued = work.order.step is Step.VERIFIED
        situation = replace(situation, ok=False, error=str(request_error), issued=issued)
    ran = await asyncio.get_running_loop().run_in_executor(
        engine.publishers,
        functools.partial(run_tasks, engine.manager, certificate, wanted, situation, work.progress),
    )
    await engine.desk.write(functools.partial(record, certificate=certificate, ran=ran))
    return failure_of_tasks(ran)


def _planned(records: Records, work: Work, phase: Phase) -> tuple[list[Task], Situation] | None:
    wanted = [task for task in records.tasks.of(work.certificate.id) if task.phase is phase]
    if not wanted:
        return None
    done = done_in(records, work.order.id, wanted)
    issued = records.issued.newest(work.certificate.id)
    bundle = work.bundle
    if bundle is None and issued is not None:
        bundle = issued_bundle(records, work.certificate)
    return wanted, Situation(phase, bundle, order_id=work.order.id, done=done)


STEPS: Mapping[Step, Callable[[Work], Awaitable[Stepped]]] = MappingProxyType(
    {
        Step.NEW: order,
        Step.ORDERED: authorize,
        Step.AUTHORIZED: seal_key,
        Step.KEY_SEALED: finalize,
        Step.FINALIZED: download,
        Step.DOWNLOADED: verify,
        Step.VERIFIED: publish,
        Step.PUBLISHED: tasks,
    }
)
"""The way of an order: what is done at each step that it reached."""


async def _spend(work: Work) -> None:
    """HeldBack, before the CA hears of it, when the order would meet one of its limits."""
    engine, now = work.engine, work.now
    limits = engine.limits(work.order.issuer)
    if limits is NONE or work.order.order_url:
        return
    names, waited = work.certificate.names, work.order.retry_at is not None
    until = await engine.desk.write(
        lambda records: engine.budget.spend(
            records,
            work.order.issuer,
            limits,
            names,
            now,
            waited=waited,
            exempt=bool(work.order.replaces),
        )
    )
    if until is not None:
        raise HeldBack(
            f"{work.order.issuer} allows no further order now for {names[0]}",
            hint="it goes on by itself; renewals with ARI are not limited",
            retry_at=until,
        )


async def _check_clock(work: Work) -> None:
    """HeldBack, with one event, when this machine's clock is not the CA's."""
    engine, issuer = work.engine, work.order.issuer
    wrong = engine.clock_error(issuer)
    if wrong is None:
        return
    if issuer not in engine.clocks_noted:
        engine.clocks_noted.add(issuer)
        data = {"error": str(wrong)}
        await engine.desk.write(
            lambda records: records.events.append(work.now, "clock.wrong", issuer, data)
        )
    raise wrong


def _wait_for_window(work: Work) -> None:
    """HeldBack outside the maintenance windows, unless a person asked for it."""
    opening = work.engine.opening(work.now)
    if opening is not None and not work.by_hand:
        raise HeldBack(
            f"{work.certificate.name} is issued, and waits for a maintenance window",
            hint=f"at once: certshelf cert request {work.certificate.name}",
            retry_at=opening,
        )


def _begin_key(work: Work) -> None:
    """Have a key made while the CA is asked; one that was sealed before is never used again."""
    if work.new_key is None and not work.certificate.reuse_key and not work.certificate.csr:
        work.new_key = work.engine.new_key(work.certificate.key_type)


async def _new_key(work: Work) -> PrivateKey:
    """The key that was begun; one that is begun now when there was none to be used again."""
    if work.new_key is None:
        work.new_key = work.engine.new_key(work.certificate.key_type)
    return await work.new_key


async def _kept_key(work: Work) -> PrivateKey | None:
    """The key of the certificate's last bundle, to be used again; None when its type changed."""

    def ask(records: Records) -> tuple[IssuedRecord | None, Secret | None]:
        issued = records.issued.newest(work.certificate.id)
        return issued, records.issued.key(issued) if issued else None

    issued, key = await work.engine.desk.read(ask)
    if issued is None or key is None or issued.key_type != work.certificate.key_type:
        return None
    return load(key)


async def _issued(work: Work) -> Bundle | LeafChain:
    if work.bundle is None:
        work.bundle = await work.engine.desk.read(lambda r: issued_bundle(r, work.certificate))
    return work.bundle


def _keep(records: Records, work: Work, bundle: Bundle | LeafChain, now: datetime) -> None:
    """Store the bundle, once: a step that is repeated finds it there."""
    issued = records.issued.newest(work.certificate.id)
    if issued is not None and issued.serial == bundle.serial:
        return
    generation = issued.generation + 1 if issued else 1
    record = IssuedRecord(
        certificate_id=work.certificate.id,
        generation=generation,
        issuer=work.order.issuer,
        thumbprint=bundle.thumbprint,
        thumbprint_sha256=bundle.sha256,
        serial=bundle.serial,
        key_type=bundle.key_type,
        not_before=bundle.not_before,
        not_after=bundle.not_after,
        issued_at=now,
        chain=work.order.chain,
    )
    records.issued.add(record, work.key)
    data = {"serial": bundle.serial, "thumbprint": bundle.thumbprint}
    records.events.append(now, "certificate.issued", work.certificate.name, data)


def _done(
    work: Work,
    status: CertificateStatus,
    now: datetime,
    before: Callable[[Records], None] = lambda records: None,
) -> Stepped:
    """The end of an order. before: what is written into the log ahead of it."""

    def also(records: Records) -> None:
        before(records)
        records.certificates.set_status(work.certificate.id, status)
        records.events.append(now, "certificate.done", work.certificate.name)

    return Stepped({"step": Step.DONE, "finished_at": now, "error": ""}, also=also)


def _valid(work: Work, bundle: Leaf, now: datetime) -> CertificateStatus:
    record = work.engine.issuers.get(work.order.issuer)
    is_acme = record is not None and record.kind is IssuerKind.ACME
    rng, known = work.engine.rng, work.certificate.status
    if known.serial == bundle.serial:  # an earlier try of this order got so far
        return replace(known, state=State.VALID, failures=0, last_error="", retry_at=None)
    return CertificateStatus(
        state=State.VALID,
        generation=work.certificate.status.generation + 1,
        thumbprint=bundle.thumbprint,
        serial=bundle.serial,
        not_before=bundle.not_before,
        not_after=bundle.not_after,
        renew_at=renewal_time(bundle.not_before, bundle.not_after, rng),
        last_run_at=now,
        ari_id=cert_id(bundle.leaf) if is_acme else "",
        ari_next_at=first_ask(now, rng) if is_acme else None,
    )

"""The pipeline: certificates from wish to shelf, in steps that can each be killed and repeated.

    new -> ordered -> authorized -> key-sealed -> finalized -> downloaded -> verified -> published
        -> done

State is in the order's record. A step looks before it acts, and what it reached is written before
the next one begins, under the generation that this process claimed: a late writer changes nothing.
One certificate or ten thousand go the same way: request_many() advances many orders at once.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from certshelf.bundle.model import Bundle, LeafChain
from certshelf.deploy.triggers import Phase
from certshelf.errors import (
    CertshelfError,
    ChallengeFailed,
    ConfigError,
    CredentialError,
    DeployError,
    HeldBack,
    IssueError,
    IssuerUnreachable,
    RateLimited,
    RecordBusy,
    RecordStale,
    ShelfError,
    StoreError,
)
from certshelf.manage import holds
from certshelf.manage.accounts import IN_FLIGHT
from certshelf.manage.claims import leases, tidy_up
from certshelf.manage.engine import Engine, is_dead
from certshelf.manage.fallbacks import issuers_of
from certshelf.manage.manager import Manager
from certshelf.manage.model import (
    ManagedCertificate,
    Mode,
    OrderRecord,
    State,
    Step,
)
from certshelf.manage.plan import is_due, retry_time
from certshelf.manage.publishing import (
    credentials_of,
    issued_bundle,
    log_files,
    put_on_shelves,
)
from certshelf.manage.signing import Changes
from certshelf.manage.steps import STEPS, Work, run_phase
from certshelf.secret import Secret
from certshelf.shelf.publish import Outcome, Result

if TYPE_CHECKING:
    from certshelf.manage.db.records import Records

_PATIENCE = 3
"""Failures of an order that may be paid for, before another CA is asked for a new one."""
_NOT_WRITTEN = (Step.AUTHORIZED, Step.FINALIZED, Step.DOWNLOADED)
"""Reached, but written with the next step: a look at the CA's order tells as much."""
_BEFORE_FINALIZE = (Step.NEW, Step.ORDERED, Step.AUTHORIZED)
_GOES_ON = (
    StoreError,
    ShelfError,
    ChallengeFailed,
    ConfigError,
    CredentialError,
    RateLimited,
    DeployError,
)
"""What a person or time mends: the order is kept and gone on with."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one request. error is None exactly when all of it was done and read back."""

    outcome: str
    bundle: Bundle | LeafChain | None = None
    results: tuple[Result, ...] = ()
    error: CertshelfError | None = None

    @property
    def ok(self) -> bool:
        """Whether everything was done."""
        return self.error is None


@dataclass(frozen=True, slots=True)
class Ask:
    """How to go about a request.

    force: a new certificate in any case. adopt: take over files that certshelf did not write.
    by_hand: a person waits for it, so a back-off after failures does not hold it up.
    """

    force: bool = False
    adopt: bool = False
    by_hand: bool = False


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
    async with Engine(manager) as engine:
        ask = Ask(force, adopt, by_hand=True)
        await tidy_up(engine)
        async with leases(engine) as held:
            return await request(engine, name, ask, held, progress)


async def request_many(
    manager: Manager,
    names: Iterable[str],
    done: Callable[[str, Run], None],
    *,
    force: bool = False,
    adopt: bool = False,
) -> None:
    """The same for many, as many at once as each issuer allows; done is told of each end."""
    async with Engine(manager) as engine:
        await tidy_up(engine)
        await advance_all(engine, names, Ask(force, adopt, by_hand=True), done)


async def advance_all(
    engine: Engine, names: Iterable[str], ask: Ask, done: Callable[[str, Run], None]
) -> None:
    """Requests of many names at once: 32 workers for each issuer, each with one order."""
    wanted = list(names)
    issuers = await engine.desk.read(lambda records: records.certificates.issuers(wanted))
    queues: defaultdict[str, list[str]] = defaultdict(list)
    for name in reversed(wanted):
        queues[issuers.get(name, "")].append(name)
    async with leases(engine) as held, asyncio.TaskGroup() as workers:
        for queue in queues.values():
            for _ in range(min(IN_FLIGHT, len(queue))):
                workers.create_task(_work_off(engine, queue, ask, held, done))


async def _work_off(
    engine: Engine,
    queue: list[str],
    ask: Ask,
    held: dict[int, Work],
    done: Callable[[str, Run], None],
) -> None:
    while queue:
        name = queue.pop()
        try:
            run = await request(engine, name, ask, held)
        except CertshelfError as error:
            run = Run("failed", error=error)
        done(name, run)


# --- one order


async def request(
    engine: Engine,
    name: str,
    ask: Ask,
    held: dict[int, Work],
    progress: Callable[[str], None] = lambda text: None,
) -> Run:
    """One certificate; see request_certificate(). held: the orders whose leases are kept."""
    claimed = await engine.desk.write(lambda records: _claim(engine, records, name, ask))
    if isinstance(claimed, ManagedCertificate):
        return await _publish_again(engine, claimed, ask)
    certificate, order, has_tasks = claimed
    work = Work(engine, certificate, order, ask.adopt, ask.by_hand, progress, has_tasks=has_tasks)
    held[order.id] = work
    try:
        await _advance(work)
    except RecordStale:
        raise
    except CertshelfError as error:
        await _failed(work, error)
        if work.order.step is not Step.PUBLISHED and not isinstance(error, HeldBack):
            await run_phase(work, Phase.AFTER, error)
        return Run("failed", work.bundle, tuple(work.results), error)
    finally:
        del held[order.id]
    return Run("issued", work.bundle, tuple(work.results))


async def _advance(work: Work) -> None:
    """Take step after step until the order is done; what cannot be looked up is on disk first."""
    while not work.order.step.is_final:
        if work.engine.stopping:
            raise HeldBack("certshelf was stopped: it goes on at the next start", retry_at=work.now)
        if work.order.step is Step.NEW:
            await _choose_issuer(work)
        work.progress(work.order.step.value)
        try:
            stepped = await STEPS[work.order.step](work)
        except (IssuerUnreachable, RateLimited) as error:
            await _ask_another(work, error)
            continue
        if stepped.changes["step"] in _NOT_WRITTEN:
            work.unwritten |= stepped.changes
            work.order = replace(work.order, **stepped.changes)
        else:
            await _write(work, stepped.changes, stepped.key, stepped.also)
    if work.engine.holds.ended(work.order.issuer):
        issuer, now = work.order.issuer, work.now
        await work.engine.desk.write(lambda records: holds.forget(records, issuer, now))


async def _write(
    work: Work,
    changes: Changes,
    key: Secret | None = None,
    also: Callable[[Records], None] = lambda records: None,
) -> None:
    """One checkpoint; RecordStale when another process has taken the order over."""
    whole = {**work.unwritten, **changes}

    def change(records: Records) -> None:
        records.orders.checkpoint(work.order, key, **whole)
        also(records)

    await work.engine.desk.write(change)
    work.unwritten, work.written_at = {}, work.engine.clock.monotonic()
    work.order = replace(work.order, **changes)


def _claim(
    engine: Engine, records: Records, name: str, ask: Ask
) -> ManagedCertificate | tuple[ManagedCertificate, OrderRecord, bool]:
    """The certificate, its order, which is ours from now on, and whether it has tasks.

    The certificate alone when nothing is due.
    RecordBusy when another process works on it.
    """
    now = engine.clock.now()
    certificate = records.certificates.get(name)
    has_tasks = records.tasks.has(certificate.id)
    order = records.orders.open_of(certificate.id)
    if order is not None and _is_left_behind(records, certificate, order, now):
        _give_up(engine, records, order, now)
        order = None
    if order is None:
        if not ask.force and not is_due(certificate, now):
            return certificate
        order = records.orders.start(
            certificate.id,
            certificate.issuer,
            now,
            replaces=_replaces(records, certificate),
            owner=engine.owner,
            lease_until=now + engine.lease,
        )
        return certificate, order, has_tasks
    if is_dead(order.lease_owner):
        records.orders.release(order, order.retry_at)
    claimed = records.orders.claim(order.id, now, engine.owner, now + engine.lease)
    if claimed is None:
        raise RecordBusy(
            f"{certificate.name} is being issued by {order.lease_owner}",
            hint="wait for it; after a crash it is free again in two minutes",
        )
    return certificate, claimed, has_tasks


def _is_left_behind(
    records: Records, certificate: ManagedCertificate, order: OrderRecord, now: datetime
) -> bool:
    """Whether only tasks of an order are left, and its certificate is to be renewed already.

    A task that never succeeds must not keep the certificate from being renewed.
    """
    issued = records.issued.newest(certificate.id)
    is_known = issued is not None and issued.serial == certificate.status.serial
    return order.step is Step.PUBLISHED and is_known and is_due(certificate, now)


def _give_up(engine: Engine, records: Records, order: OrderRecord, now: datetime) -> None:
    claimed = records.orders.claim(order.id, now, engine.owner, now + engine.lease)
    if claimed is not None:
        records.orders.checkpoint(claimed, step=Step.FAILED, finished_at=now)


def _replaces(records: Records, certificate: ManagedCertificate) -> str:
    """The ARI id of what is renewed, when the same CA issued it (RFC 9773 section 5)."""
    if not certificate.status.ari_id or certificate.status.state is State.REVOKED:
        return ""
    issued = records.issued.newest(certificate.id)
    return certificate.status.ari_id if issued and issued.issuer == certificate.issuer else ""


async def _choose_issuer(work: Work) -> None:
    """The first of the certificate's issuers that may be asked now. HeldBack when none may."""
    candidates = issuers_of(work.certificate, work.engine.issuers)
    waits = [_held(work, issuer) for issuer in candidates]
    for issuer, until in zip(candidates, waits, strict=True):
        if until is None and issuer not in work.tried:
            if issuer != work.order.issuer:
                await _write(work, {"issuer": issuer, "replaces": "", "order_url": ""})
            return
    raise HeldBack(
        f"{' and '.join(candidates)} asked us to come back later, or did not answer",
        hint="it goes on by itself; a fallback issuer would go on now: cert edit --fallback",
        retry_at=min(until for until in waits if until is not None),
    )


def _held(work: Work, issuer: str) -> datetime | None:
    """Until when an issuer is left alone; a person may have it asked, once in a run."""
    by_hand = work.by_hand and issuer not in work.tried
    return work.engine.holds.until(issuer, work.now, by_hand=by_hand)


async def _ask_another(work: Work, error: IssuerUnreachable | RateLimited) -> None:
    """Leave this CA alone for a while, and begin again at the next one; raise when there is none.

    An order that may be paid for is not left so soon: its CA is asked again first.
    """
    engine, issuer, now = work.engine, work.order.issuer, work.now
    work.tried.add(issuer)
    if not _is_about(error, work.certificate):
        hold = engine.holds.after(issuer, error, now, engine.rng)
        await engine.desk.write(lambda records: holds.store(records, issuer, hold))
    free = [
        other
        for other in issuers_of(work.certificate, engine.issuers)
        if other not in work.tried and _held(work, other) is None
    ]
    if not free or (work.order.step not in _BEFORE_FINALIZE and work.order.attempt < _PATIENCE):
        raise error
    data = {"from": issuer, "to": free[0], "error": str(error)}
    work.progress(f"{issuer} cannot now: {free[0]} is asked")
    await _write(
        work,
        {
            "issuer": free[0],
            "step": Step.NEW,
            "order_url": "",
            "expires": None,
            "replaces": "",
            "attempt": 0,
        },
        also=lambda records: _event(records, work, "certificate.fallback", data),
    )


def _is_about(error: IssueError, certificate: ManagedCertificate) -> bool:
    """Whether a CA's limit concerns these names only: then others may go on.

    CAs say so in words alone: they quote the domain, or speak of the set of names.
    """
    text = str(error).lower()
    if not isinstance(error, RateLimited) or "account" in text:
        return False
    names = {name.removeprefix("*.") for name in certificate.names}
    names |= {".".join(name.split(".")[-2:]) for name in names}
    return "exact set" in text or any(f'"{name}"' in text for name in names)


async def _failed(work: Work, error: CertshelfError) -> None:
    """Remember the failure; an order that the CA refused for good is closed, others are resumed.

    What was held back before the CA was asked is no failure: it waits, and no event is written.
    """
    engine, now, status = work.engine, work.now, work.certificate.status
    wanted = error.retry_at if isinstance(error, IssueError) else None
    quiet = isinstance(error, HeldBack)
    failures = status.failures + (0 if quiet else 1)
    retry_at = wanted or now
    if not quiet:
        retry_at = max(retry_at, retry_time(failures, now, engine.rng))
    resumable = isinstance(error, _GOES_ON) or error.retryable

    def change(records: Records) -> None:
        if resumable:
            attempt = work.order.attempt + (0 if quiet else 1)
            records.orders.checkpoint(work.order, error=str(error), attempt=attempt)
            records.orders.release(work.order, retry_at)
        else:
            records.orders.checkpoint(
                work.order, step=Step.FAILED, error=str(error), finished_at=now
            )
        failed = replace(
            status,
            state=status.state if quiet else State.FAILED,
            failures=failures,
            last_error=str(error),
            last_run_at=now,
            retry_at=retry_at,
        )
        records.certificates.set_status(work.certificate.id, failed)
        if isinstance(error, ChallengeFailed):
            limits = engine.limits(work.order.issuer)
            engine.budget.failed(records, work.order.issuer, limits, work.certificate.names, now)
        if not quiet:
            _event(records, work, "certificate.failed", {"error": str(error)})

    await engine.desk.write(change)


def _event(records: Records, work: Work, kind: str, data: dict[str, str]) -> None:
    records.events.append(work.now, kind, work.certificate.name, data)


async def _publish_again(engine: Engine, certificate: ManagedCertificate, ask: Ask) -> Run:
    bundle = await engine.desk.read(lambda records: issued_bundle(records, certificate))
    if certificate.mode is Mode.NONE or isinstance(bundle, LeafChain):
        return Run("not due", bundle)
    results = await asyncio.to_thread(
        put_on_shelves, engine.manager, certificate, bundle, adopt=ask.adopt
    )
    news = any(r.outcome is not Outcome.UNCHANGED for r in results)
    if news:
        now = engine.clock.now()

        def note(records: Records) -> None:
            opened = credentials_of(records, engine.manager, certificate)
            log_files(records, now, bundle, results, opened)

        await engine.desk.write(note)
    failed = next((r.error for r in results if r.error), None)
    outcome = "failed" if failed else "published again" if news else "not due"
    return Run(outcome, bundle, results, failed)

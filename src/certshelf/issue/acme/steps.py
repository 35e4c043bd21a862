"""The steps of one order, each safe to repeat: what a durable pipeline calls one by one.

    order = await new_order(...)        keep order.url before going on
    order = await authorize(...)        challenges presented, answered, validated, tidied up
    order = await finalize(...)         the key must be kept, sealed, before this
    chain = await download(...)

A run that was killed starts with look() and goes on at the step that the order's status asks
for; each step returns at once when its work is done already. What a CA answers to a repeated
call (400 malformed, 403 orderNotReady) means "look again" here, never "failed".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from certshelf.challenge import Challenge
from certshelf.errors import AcmeProblem, CertshelfError, ChallengeFailed, IssuerUnreachable
from certshelf.issue.acme import authorization, certificate, order
from certshelf.issue.acme.account import Account
from certshelf.issue.acme.authorization import Authorization
from certshelf.issue.acme.certificate import Chain
from certshelf.issue.acme.challenge import AcmeChallenge, answer
from certshelf.issue.acme.client import AcmeClient
from certshelf.issue.acme.order import Order, OrderStatus, poll
from certshelf.issue.acme.retry import Polling
from certshelf.issue.solve.base import Solver

T = TypeVar("T")
Progress = Callable[[str], None]
Chooser = Callable[[Authorization], Awaitable[Sequence[Solver]]]
"""The solvers for one name, when names differ in how they are proved."""

new_order = order.create

# Let's Encrypt takes five failed validations of a name an hour: four are safe.
_FAILED_WAIT = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Step:
    """What every step needs: who asks whom, and how patiently."""

    client: AcmeClient
    account: Account
    polling: Polling = field(default_factory=Polling)
    progress: Progress = lambda _: None


@dataclass(frozen=True, slots=True)
class _Work:
    """One challenge to answer, by one solver."""

    authorization: Authorization
    challenge: AcmeChallenge
    solver: Solver
    shown: Challenge


async def look(step: Step, order_url: str) -> Order | None:
    """The order as the CA has it now; None when it has none any more: begin again then."""
    try:
        return await order.fetch(step.client, step.account, order_url)
    except AcmeProblem as problem:
        if problem.status in (404, 410):
            return None
        raise


async def authorize(step: Step, pending: Order, solvers: Sequence[Solver] | Chooser) -> Order:
    """Prove every name of a pending order: present, wait, answer, poll; then tidy up.

    solvers: tried in this order for each name; the first whose type the CA offers is used.
    Safe to repeat after a kill at any point: what is valid is left alone. Raises ChallengeFailed
    with the name and the CA's reason.
    """
    if pending.status is not OrderStatus.PENDING:
        return _unless_invalid(step, pending)
    found = await _together(
        authorization.fetch(step.client, step.account, url) for url in pending.authorizations
    )
    work = [
        _work(step, a, await solvers(a) if callable(solvers) else solvers)
        for a in found
        if a.status != "valid"
    ]
    try:
        await _together(w.solver.present(w.shown) for w in work)
        step.progress(f"presented {len(work)} of {len(found)} challenges")
        await _together(w.solver.wait(w.shown) for w in work)
        await _together(_answer(step, pending, w) for w in work)
        step.progress("told the CA; waiting for its validation")
        return await _validated(step, pending)
    finally:
        await _tidy_up(step, work)


async def finalize(step: Step, ready: Order, csr: bytes) -> Order:
    """Send the CSR (DER) of a ready order and wait until it is valid.

    Safe to repeat: an order that is being made or valid already is not asked twice. The key of
    the CSR must be kept before, or a crash in between burns the certificate.
    """
    now = ready
    if now.status is OrderStatus.READY:
        try:
            now = await order.submit(step.client, step.account, now, csr)
        except AcmeProblem as problem:
            if problem.type != "orderNotReady":
                raise
            now = await order.fetch(step.client, step.account, ready.url)
        step.progress("finalised")
    if now.status is OrderStatus.PENDING:
        raise step.client.unreachable("the order is not authorised yet", "it goes on by itself")
    if now.status in (OrderStatus.READY, OrderStatus.PROCESSING):
        now = await poll(step.client, step.account, now, _is_made, step.polling)
    return _unless_invalid(step, now)


async def download(step: Step, valid: Order, *, preferred_issuer: str = "") -> Chain:
    """The leaf and its chain of a valid order; safe to repeat. See certificate.download."""
    if not valid.certificate:
        raise step.client.unreachable(f"the order is {valid.status} and has no certificate yet")
    return await certificate.download(
        step.client, step.account, valid.certificate, preferred_issuer=preferred_issuer
    )


def choose(found: Authorization, solvers: Sequence[Solver]) -> tuple[AcmeChallenge, Solver]:
    """The first solver whose challenge type the CA offers for this name, with that challenge.

    Raises ChallengeFailed when none fits: a wildcard, say, wants a DNS challenge.
    """
    offered = {challenge.type: challenge for challenge in found.challenges}
    for solver in solvers:
        if solver.type in offered:
            return offered[solver.type], solver
    ours = ", ".join(solver.type for solver in solvers) or "none"
    raise ChallengeFailed(
        f"{found.name}: the CA offers {', '.join(offered) or 'no challenge'}; set up here: {ours}",
        hint="a wildcard needs dns-01 or dns-persist-01; an address http-01 or tls-alpn-01",
    )


def _work(step: Step, found: Authorization, solvers: Sequence[Solver]) -> _Work:
    if found.status != "pending":
        raise _failure(step, found)
    challenge, solver = choose(found, solvers)
    return _Work(found, challenge, solver, challenge.to_present(found.identifier, step.account))


async def _answer(step: Step, pending: Order, work: _Work) -> None:
    if work.challenge.status != "pending":
        return  # told in an earlier run: the CA is at it
    try:
        await answer(step.client, step.account, work.challenge)
    except AcmeProblem as problem:
        if problem.type != "malformed":
            raise
        url = work.authorization.url
        now = await authorization.fetch(step.client, step.account, url)
        if now.status not in ("pending", "valid"):
            raise _failure(step, now) from problem
        untouched = now.status == "pending" and all(c.status == "pending" for c in now.challenges)
        if untouched and not _is_validated(
            await order.fetch(step.client, step.account, pending.url)
        ):
            raise  # nobody answered it before and the order still waits: the CA means it


async def _validated(step: Step, pending: Order) -> Order:
    try:
        now = await poll(step.client, step.account, pending, _is_validated, step.polling)
    except IssuerUnreachable:
        await _explain(step, pending)
        raise
    if now.status is OrderStatus.INVALID:
        await _explain(step, now)
    return _unless_invalid(step, now)


async def _explain(step: Step, failed: Order) -> None:
    """Raise ChallengeFailed for the first name that the CA could not validate, if one is so."""
    for url in failed.authorizations:
        found = await authorization.fetch(step.client, step.account, url)
        if found.status not in ("valid", "pending"):
            raise _failure(step, found)


def _failure(step: Step, found: Authorization) -> ChallengeFailed:
    errors = [c.error for c in found.challenges if c.error is not None]
    reason = str(errors[0]) if errors else f"its authorization is {found.status}"
    return ChallengeFailed(
        f"{found.name}: {reason}",
        hint=errors[0].hint if errors else "",
        retry_at=step.client.clock.now() + _FAILED_WAIT,
    )


def _unless_invalid(step: Step, now: Order) -> Order:
    if now.status is not OrderStatus.INVALID:
        return now
    if now.error is not None:
        now.error.retry_at = now.error.retry_at or step.client.clock.now() + _FAILED_WAIT
        raise now.error
    raise ChallengeFailed(
        "the CA has made the order invalid and gives no reason",
        retry_at=step.client.clock.now() + _FAILED_WAIT,
    )


async def _tidy_up(step: Step, work: Sequence[_Work]) -> None:
    """Take every answer away; one that stays is told, and is no reason to fail the order."""
    ends = await asyncio.gather(*(w.solver.clean_up(w.shown) for w in work), return_exceptions=True)
    for w, end in zip(work, ends, strict=True):
        if isinstance(end, CertshelfError):
            step.progress(f"left behind: the answer for {w.shown.domain}: {end}")
        elif isinstance(end, BaseException):
            raise end


async def _together(calls: Iterable[Awaitable[T]]) -> list[T]:
    """All at once; the first error is raised only when all have ended, so that none runs on."""
    ends = await asyncio.gather(*calls, return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException):
            raise end
    return [end for end in ends if not isinstance(end, BaseException)]


def _is_validated(now: Order) -> bool:
    return now.status is not OrderStatus.PENDING


def _is_made(now: Order) -> bool:
    return now.status in (OrderStatus.VALID, OrderStatus.INVALID)

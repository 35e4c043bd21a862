"""What is done without being asked: renewal windows looked up, due certificates requested.

One pass looks at all certificates; the service makes a pass every minute, `cert request --due` one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from certshelf.errors import CertshelfError, IssueError, IssuerUnreachable, RateLimited
from certshelf.issue.acme.ari import RenewalInfo
from certshelf.manage.accounts import IN_FLIGHT
from certshelf.manage.acme_signer import AcmeSigner
from certshelf.manage.claims import tidy_up
from certshelf.manage.engine import Engine
from certshelf.manage.manager import Manager
from certshelf.manage.model import ManagedCertificate
from certshelf.manage.pipeline import Ask, Run, advance_all
from certshelf.manage.plan import moment_in, retry_time

if TYPE_CHECKING:
    from certshelf.manage.db.records import Records

_EVERY_S = 60.0
_AT_ONCE = 10_000
"""Names taken up in one pass; the rest comes with the next."""


async def request_due(manager: Manager, done: Callable[[str, Run], None]) -> None:
    """One pass: ask the CAs for windows whose time has come, then request all that is due."""
    async with Engine(manager) as engine:
        await one_pass(engine, done)


async def run_forever(manager: Manager, stop: asyncio.Event) -> None:
    """A pass a minute until stop is set; orders under way are left resumable."""
    async with Engine(manager) as engine:
        while not stop.is_set():
            await one_pass(engine, lambda name, run: None)
            try:
                await asyncio.wait_for(stop.wait(), _EVERY_S)
            except TimeoutError:
                continue


async def one_pass(engine: Engine, done: Callable[[str, Run], None]) -> None:
    """See request_due()."""
    await tidy_up(engine)
    await ask_windows(engine)
    now = engine.clock.now()
    names = await engine.desk.read(lambda records: _due(records, now))
    await advance_all(engine, names, Ask(), done)


def _due(records: Records, now: datetime) -> list[str]:
    """Due certificates, the most urgent first; those with an order that was put off wait for it."""
    return records.certificates.due(now)[:_AT_ONCE]


# --- renewal information (RFC 9773)


async def ask_windows(engine: Engine) -> int:
    """Ask for every renewal window that is to be asked for now; how many were."""
    now = engine.clock.now()
    wanted = await engine.desk.read(lambda records: records.certificates.to_ask(now, _AT_ONCE))
    slots = asyncio.Semaphore(IN_FLIGHT)
    silent: set[str] = set()

    async def ask(certificate: ManagedCertificate) -> None:
        async with slots:
            await _ask_window(engine, certificate, silent)

    await asyncio.gather(*(ask(one) for one in wanted))
    return len(wanted)


async def _ask_window(engine: Engine, certificate: ManagedCertificate, silent: set[str]) -> None:
    """Ask one CA; an error is no news: it is asked again after a back-off.

    silent: the issuers that gave no answer in this pass. One that hangs is not waited for again
    by each of its certificates, for renewals wait for this pass.
    """
    now, info = engine.clock.now(), None
    ask_at: datetime | None = retry_time(2, now, engine.rng)
    try:
        issuer = await engine.desk.read(lambda records: _issuer(records, certificate))
        if engine.holds.until(issuer, now, by_hand=False):
            return
        if issuer not in silent:
            signer = await engine.signer(issuer)
            if isinstance(signer, AcmeSigner) and engine.clock_error(issuer) is None:
                info = await signer.renewal_info(certificate.status.ari_id)
                ask_at = info.ask_at if info else None
    except IssueError as error:
        if isinstance(error, (IssuerUnreachable, RateLimited)):
            silent.add(issuer)
        ask_at = max(ask_at or now, error.retry_at or now)
    except CertshelfError:
        ask_at = now + timedelta(days=1)
    renew_at = certificate.status.renew_at
    if info is not None:
        renew_at = moment_in(info.start, info.end, renew_at, engine.rng)

    def note(records: Records) -> None:
        found = records.certificates.by_id(certificate.id)
        if found.status.ari_id != certificate.status.ari_id:
            return  # renewed meanwhile
        status = replace(found.status, ari_next_at=ask_at, renew_at=renew_at)
        records.certificates.set_status(found.id, status)
        if info is not None and renew_at != certificate.status.renew_at:
            records.events.append(now, "certificate.window", found.name, _window(info))

    await engine.desk.write(note)


def _issuer(records: Records, certificate: ManagedCertificate) -> str:
    issued = records.issued.newest(certificate.id)
    return issued.issuer if issued else certificate.issuer


def _window(info: RenewalInfo) -> dict[str, str]:
    return {
        "start": info.start.isoformat(timespec="seconds"),
        "end": info.end.isoformat(timespec="seconds"),
        "explanation_url": info.explanation_url,
    }

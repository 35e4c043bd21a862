"""Around all orders of a process: their claims are kept alive, and crashes are tidied up after."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from certshelf.errors import CertshelfError, IssuerUnreachable, RateLimited, RecordStale
from certshelf.manage.engine import Engine
from certshelf.manage.model import ChallengeRecord, ManagedCertificate, OrderRecord
from certshelf.manage.steps import Work

if TYPE_CHECKING:
    from certshelf.manage.db.records import Records


@asynccontextmanager
async def leases(engine: Engine) -> AsyncIterator[dict[int, Work]]:
    """Keep the claims on all orders under way for as long as this process lives."""
    held: dict[int, Work] = {}

    async def keep() -> None:
        while True:
            await asyncio.sleep(engine.lease.total_seconds() / 3)
            orders = [work.order for work in held.values()]
            until = engine.clock.now() + engine.lease
            with contextlib.suppress(CertshelfError):  # the next checkpoint says what is wrong
                await engine.desk.write(functools.partial(_extend, orders=orders, until=until))

    keeper = asyncio.create_task(keep())
    try:
        yield held
    finally:
        keeper.cancel()


def _extend(records: Records, orders: list[OrderRecord], until: datetime) -> None:
    for order in orders:
        with contextlib.suppress(RecordStale):  # its next checkpoint says so
            records.orders.extend(order, until)


async def tidy_up(engine: Engine) -> None:
    """Take away the challenge answers that orders left behind which a crash ended.

    A CA that gives no answer is waited for once, and not for each of its orders.
    """
    silent: set[str] = set()

    def ask(records: Records) -> list[tuple[ChallengeRecord, OrderRecord, ManagedCertificate]]:
        found = []
        for record in records.challenges.to_clean_up():
            order = records.orders.get(record.order_id)
            found.append((record, order, records.certificates.by_id(order.certificate_id)))
        return found

    for record, order, certificate in await engine.desk.read(ask):
        if order.issuer in silent:
            continue
        try:
            signer = await engine.acme(order.issuer)
            await signer.clean_up(record, certificate)
        except (IssuerUnreachable, RateLimited):
            silent.add(order.issuer)
        except CertshelfError:
            continue  # it is harmless; the next run tries again

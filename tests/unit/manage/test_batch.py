"""A batch of 10,000 names against a CA that counts strictly: not one order is refused (429)."""

from __future__ import annotations

import heapq
import random
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.limiter import ORDERS, Limiter

from certshelf.manage.budget import LETS_ENCRYPT, Budget
from certshelf.manage.db.database import Database
from certshelf.manage.service.schedule import OpenOrder, plan_tick

NOW = datetime(2030, 1, 1, tzinfo=UTC)
NAMES = 10_000
RESTART = timedelta(hours=7)


def run_batch(
    database: Database, hosts: dict[str, str], tick: timedelta
) -> tuple[Limiter, datetime]:
    """Advance all as the service does; the CA's count, and when the last one was ordered.

    The planner hands out at each tick, the budget lets go or puts off, and the process is
    restarted every few hours: only what is in the records survives that.
    """
    limiter, budget, rng = Limiter(), Budget(), random.Random(1)
    due, waiting = list(hosts), list[tuple[datetime, str]]()
    now, last, restart = NOW, NOW, NOW + RESTART
    with database.write() as records:
        while due or waiting:
            if now >= restart:
                budget, restart = Budget(), now + RESTART
            put_off = []
            while waiting and waiting[0][0] <= now:
                put_off.append(OpenOrder(heapq.heappop(waiting)[1], now, "", None))
            going_on = {order.certificate for order in put_off}
            for name in plan_tick(due, put_off, now, begun=0, budget=0):
                names, waited = (hosts[name],), name in going_on
                until = budget.spend(
                    records, "le", LETS_ENCRYPT, names, now, waited=waited, exempt=False
                )
                if until is not None:
                    heapq.heappush(waiting, (until, name))
                    continue
                assert limiter.order(names, now) is None, limiter.refused
                last = now
            due = []
            if waiting:  # the first tick after the next one may go
                now = max(now, waiting[0][0]) + tick * rng.random()
    return limiter, last


@pytest.mark.slow
def test_ten_thousand_domains_are_ordered_as_fast_as_the_ca_allows(database: Database) -> None:
    hosts = {f"n{i}": f"www.d{i}.test" for i in range(NAMES)}
    limiter, last = run_batch(database, hosts, timedelta(seconds=60))
    assert (limiter.allowed, limiter.refused) == (NAMES, [])
    count, per = ORDERS
    assert last - NOW < 1.05 * per * (NAMES - count) / count


def test_domains_with_a_hundred_names_each_wait_for_their_week(
    database: Database,
) -> None:
    hosts = {f"n{i}": f"h{i}.d{i % 5}.test" for i in range(500)}
    limiter, last = run_batch(database, hosts, timedelta(seconds=60))
    assert (limiter.allowed, limiter.refused) == (500, [])
    assert last - NOW < 1.05 * timedelta(days=7)


def test_the_limiter_of_this_test_refuses_what_the_ca_refuses() -> None:
    limiter = Limiter()
    assert [limiter.order([f"a.d{i}.test"], NOW) for i in range(300)] == [None] * 300
    wait = limiter.order(["a.late.test"], NOW)
    assert wait == timedelta(seconds=36)
    assert limiter.order(["a.late.test"], NOW, replaces=True) is None
    assert limiter.order(["a.late.test"], NOW + wait) is None
    assert limiter.order(["b.late.test"], NOW + wait) is not None
    other = Limiter()
    assert [other.order([f"h{i}.one.test"], NOW) for i in range(50)] == [None] * 50
    assert other.order(["h50.one.test"], NOW)
    same = Limiter()
    assert [same.order(["a.test"], NOW) for _ in range(5)] == [None] * 5
    assert same.order(["a.test"], NOW)

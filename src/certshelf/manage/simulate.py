"""A year in seconds: do renewals keep up with a CA's limits, its outages and failures? Pure events.

Two simulations of the pipeline's rules: exact events for each certificate (up to 10,000 names),
and cohorts by the hour (a million names), which a test compares with the exact one. Time is in
hours from the start. Both know: renewal at 2/3 of the life (1/2 under 10 days) plus up to 5 %,
retries after 1, 10 and 100 minutes and then daily, the CA's back-off during an outage, the
account's token bucket for new orders, and how many orders the managers get done.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from itertools import count

from certshelf.manage.budget import LETS_ENCRYPT, Limit
from certshelf.manage.plan import JITTER, SHORT_LIVED, renewal_part

EXACT_UP_TO = 10_000
_BACK_OFF_H = (1 / 60, 10 / 60, 100 / 60)
_DAY_H = 24.0
_PROBES_H = (1 / 60, 10 / 60, 100 / 60)
_MAX_PROBE_H = 6.0
_NOTHING = 1e-9


@dataclass(frozen=True, slots=True)
class Outage:
    """The CA answers nobody for `hours`, from the hour `start` on."""

    start: float
    hours: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is simulated.

    lifetime_days: of certificates. ari: renewals name their predecessor and are exempt from the
    order limit. at_once: all are due in the first hour (a mass re-issue), else spread evenly.
    failure_rate: of tries, 0 to 1. per_minute: orders that one manager gets done.
    """

    names: int
    lifetime_days: float
    days: int = 365
    ari: bool = True
    accounts: int = 1
    managers: int = 1
    at_once: bool = False
    failure_rate: float = 0.01
    per_minute: float = 500.0
    outages: tuple[Outage, ...] = ()
    orders: Limit = LETS_ENCRYPT.orders or Limit(300, SHORT_LIVED)

    @property
    def life_h(self) -> float:
        """The lifetime in hours."""
        return self.lifetime_days * _DAY_H

    @property
    def renew_after_h(self) -> float:
        """How long after issuance the earliest renewal comes."""
        return self.life_h * renewal_part(self.lifetime_days)

    @property
    def jitter_h(self) -> float:
        """How much later the latest one comes."""
        return self.life_h * JITTER

    @property
    def hours(self) -> int:
        """How long it runs."""
        return self.days * 24


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it.

    expired: certificates that were not renewed in time, at least once. orders: asked of the CA,
    failed ones too. held_hours: hours in which limits left orders over. least_left_h: the shortest
    time that was left to any certificate when its renewal came; negative when one expired.
    """

    expired: int
    orders: int
    failed: int
    most_orders_an_hour: int
    held_hours: int
    least_left_h: float
    exact: bool


def simulate(scenario: Scenario) -> Outcome:
    """Exact events for few names, cohorts for many."""
    return simulate_exactly(scenario) if scenario.names <= EXACT_UP_TO else by_cohorts(scenario)


def accounts_needed(scenario: Scenario, limit: int = 1000) -> int:
    """The fewest accounts with which nothing expires; limit when not even that many are enough."""
    if scenario.ari:
        return 1
    demand = scenario.names / (scenario.renew_after_h + scenario.jitter_h / 2)
    rate = scenario.orders.per_second * 3600
    accounts = max(1, int(demand / rate))
    while accounts < limit and by_cohorts(replace(scenario, accounts=accounts)).expired:
        accounts += max(1, accounts // 10)
    return min(accounts, limit)


# --- exact events


class _Line:
    """A token bucket with a waiting line: first come, first served (as Budget does it)."""

    def __init__(self, burst: float, per_hour: float) -> None:
        self._step = 1 / per_hour
        self._room = (burst - 1) * self._step
        self._full_at = float("-inf")

    def slot(self, now: float) -> float:
        """When one that comes now may go; its token is spent."""
        at = max(now, self._full_at - self._room)
        self._full_at = max(self._full_at, at) + self._step
        return at


def simulate_exactly(scenario: Scenario, seed: int = 1) -> Outcome:
    """One event for each try of each certificate."""
    rng = random.Random(seed)  # noqa: S311 - a simulation
    limits = _Line(
        scenario.orders.count * scenario.accounts,
        scenario.orders.per_second * 3600 * scenario.accounts,
    )
    work = _Line(1, scenario.per_minute * 60 * scenario.managers)
    pauses = _pauses(scenario)
    ends = [0.0] * scenario.names
    tries: list[tuple[float, int, int, int, bool]] = []
    number = count()
    for i, (due, end) in enumerate(_start(scenario)):
        ends[i] = end
        tries.append((due, next(number), i, 0, False))
    heapq.heapify(tries)
    per_hour: Counter[int] = Counter()
    held: set[int] = set()
    late: set[int] = set()
    failed, least = 0, scenario.life_h
    while tries and tries[0][0] < scenario.hours:
        now, _, i, failures, has_place = heapq.heappop(tries)
        at = _after_pause(pauses, now)
        if at == now and not has_place:
            at = work.slot(now if scenario.ari else limits.slot(now))
            held.update(range(int(now) + 1, int(at) + 1))
            has_place = True
        if at > now:
            heapq.heappush(tries, (at, next(number), i, failures, has_place))
            continue
        per_hour[int(now)] += 1
        if rng.random() < scenario.failure_rate:
            failed += 1
            wait = _wait_h(failures) * (1 + 0.2 * rng.random())
            heapq.heappush(tries, (now + wait, next(number), i, failures + 1, False))
            continue
        least = min(least, ends[i] - now)
        if ends[i] < now:
            late.add(i)
        ends[i] = now + scenario.life_h
        again = now + scenario.renew_after_h + scenario.jitter_h * rng.random()
        heapq.heappush(tries, (again, next(number), i, 0, False))
    late.update(i for i, end in enumerate(ends) if end < scenario.hours)
    return Outcome(
        expired=len(late),
        orders=per_hour.total(),
        failed=failed,
        most_orders_an_hour=max(per_hour.values(), default=0),
        held_hours=len(held),
        least_left_h=round(least, 1),
        exact=True,
    )


def _start(scenario: Scenario) -> list[tuple[float, float]]:
    """(first due, not after) of each certificate: as if they had been renewed for ever."""
    after, jitter = scenario.renew_after_h, scenario.jitter_h
    found = []
    for i in range(scenario.names):
        due = 0.0 if scenario.at_once else (after + jitter / 2) * i / scenario.names
        if due > after:  # the thinning tail of those that chose a late moment
            due = after + jitter * (1 - max(0.0, 1 - 2 * (due - after) / jitter) ** 0.5)
        found.append((due, due + scenario.life_h - after - jitter))
    return found


def _wait_h(failures: int) -> float:
    return _BACK_OFF_H[failures] if failures < len(_BACK_OFF_H) else _DAY_H


def _pauses(scenario: Scenario) -> list[tuple[float, float]]:
    """From when until when no order goes out: an outage, up to the first try after its end."""
    pauses = []
    for outage in sorted(scenario.outages, key=lambda o: o.start):
        at, end = outage.start, outage.start + outage.hours
        probes = 0
        while at < end:
            at += _PROBES_H[probes] if probes < len(_PROBES_H) else _MAX_PROBE_H
            probes += 1
        pauses.append((outage.start, at))
    return pauses


def _after_pause(pauses: list[tuple[float, float]], at: float) -> float:
    for start, end in pauses:
        if start <= at < end:
            return end
    return at


# --- cohorts by the hour


Cohort = dict[tuple[int, int], float]
"""How many certificates, by the hour at which they expire and their failures so far."""


def by_cohorts(scenario: Scenario) -> Outcome:
    """Expected numbers of certificates that behave alike, an hour at a time."""
    due: defaultdict[int, Cohort] = defaultdict(lambda: defaultdict(float))
    _fill(scenario, due)
    pauses = _pauses(scenario)
    burst = scenario.orders.count * scenario.accounts
    refill = scenario.orders.per_second * 3600 * scenario.accounts
    tokens = float(burst)
    able = scenario.per_minute * 60 * scenario.managers
    orders = failed = expired = most = 0.0
    held, left_over = 0, defaultdict[int, float](float)
    for hour in range(scenario.hours):
        cohort = due.pop(hour, {})
        tokens += refill
        room = _open_part(pauses, hour) * able
        room = room if scenario.ari else min(room, tokens)
        used = renewed = 0.0
        for (end, failures), number in sorted(cohort.items()):
            tries, quick = _quick(scenario, failures)
            done = min(number, (room - used) / tries)
            if number - done > _NOTHING:
                due[hour + 1][end, failures] += number - done
            bad = done * scenario.failure_rate**quick
            used += done * tries
            renewed += done - bad
            left_over[end - hour] += done - bad
            failed += done * tries - (done - bad)
            expired += done - bad if end < hour else 0.0
            if bad > _NOTHING:
                wait = max(1, round(_wait_h(failures + quick - 1) * 1.1))
                due[hour + wait][end, failures + quick] += bad
        _renew(scenario, due, hour, renewed)
        held += used >= room - _NOTHING and bool(cohort)
        tokens = min(burst, tokens if scenario.ari else tokens - used)
        orders += used
        most = max(most, used)
    expired += sum(
        number
        for cohort in due.values()
        for (end, _), number in cohort.items()
        if end < scenario.hours
    )
    return Outcome(
        expired=round(expired),
        orders=round(orders),
        failed=round(failed),
        most_orders_an_hour=round(most),
        held_hours=held,
        least_left_h=float(_least(left_over)),
        exact=False,
    )


def _least(left_over: dict[int, float]) -> int:
    """The shortest time left of what is at least half a certificate."""
    total = 0.0
    for left, number in sorted(left_over.items()):
        total += number
        if total >= 0.5:
            return left
    return 0


def _quick(scenario: Scenario, failures: int) -> tuple[float, int]:
    """(orders that one certificate costs within the hour, how many tries fit in there): retries
    after 1 and 10 minutes come in the same hour."""
    tries = 1
    while _wait_h(failures + tries - 1) < 1:
        tries += 1
    return sum(scenario.failure_rate**n for n in range(tries)), tries


def _fill(scenario: Scenario, due: defaultdict[int, Cohort]) -> None:
    parts = min(scenario.names, 20_000)
    for first, end in _start(replace(scenario, names=parts)):
        due[int(first)][int(end), 0] += scenario.names / parts


def _renew(scenario: Scenario, due: defaultdict[int, Cohort], hour: int, number: float) -> None:
    """Spread the next renewals of a cohort evenly over the jitter."""
    first = hour + scenario.renew_after_h
    hours = max(1, round(scenario.jitter_h))
    end = int(hour + scenario.life_h)
    for offset in range(hours):
        due[int(first) + offset][end, 0] += number / hours


def _open_part(pauses: list[tuple[float, float]], hour: int) -> float:
    """Which part of an hour the CA can be asked in."""
    closed = sum(max(0.0, min(end, hour + 1) - max(start, hour)) for start, end in pauses)
    return max(0.0, 1.0 - closed)

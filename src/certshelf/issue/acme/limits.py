"""What keeps us below a CA's limits: token buckets as values, and one gate per account."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `burst` at once and `per_second` on average."""

    per_second: float
    burst: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket as a value: `tokens` are left at the moment `at` (aware UTC).

    Small enough to be kept in a record, so that a restart does not forget what was used.
    """

    rate: Rate
    tokens: float
    at: datetime

    @staticmethod
    def full(rate: Rate, now: datetime) -> Bucket:
        """A bucket from which nothing was taken yet."""
        return Bucket(rate, rate.burst, now)

    def take(self, now: datetime) -> Bucket | datetime:
        """One token less; or, when none is left, the moment at which the next one is there."""
        filled = self.refilled(now)
        if filled.tokens >= 1:
            return replace(filled, tokens=filled.tokens - 1)
        missing = (1 - filled.tokens) / self.rate.per_second
        # rounded up, or a float's last bit could leave the token short at that very moment
        return now + timedelta(microseconds=int(missing * 1_000_000) + 1)

    def refilled(self, now: datetime) -> Bucket:
        """The bucket at a later moment; a clock that went back adds nothing."""
        passed = max(0.0, (now - self.at).total_seconds())
        tokens = min(self.rate.burst, self.tokens + passed * self.rate.per_second)
        return replace(self, tokens=tokens, at=now)


class Gate:
    """What one account may do at once, and how fast it may order.

    slots: requests in flight. orders: the bucket for new orders, or None for no limit.
    """

    def __init__(self, in_flight: int, orders: Bucket | None) -> None:
        self.slots = asyncio.Semaphore(in_flight)
        self.orders = orders

    def take_order(self, now: datetime) -> datetime | None:
        """Use one order up: None when it may go now, else when it may."""
        if self.orders is None:
            return None
        taken = self.orders.take(now)
        if isinstance(taken, datetime):
            return taken
        self.orders = taken
        return None

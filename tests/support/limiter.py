"""Let's Encrypt's limits as the CA itself counts them, written anew: none of our code is used.

Source: letsencrypt.org/docs/rate-limits. Each limit is a bucket that holds `burst` and refills
evenly; an order that finds one empty is refused, and takes nothing from the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

ORDERS = 300, timedelta(hours=3)
PER_DOMAIN = 50, timedelta(days=7)
PER_NAMES = 5, timedelta(days=7)


@dataclass
class Limiter:
    """allowed, refused: the orders so far; the first fifty refusals in words."""

    allowed: int = 0
    refused: list[str] = field(default_factory=list)
    _full_at: dict[str, datetime] = field(default_factory=dict)

    def order(
        self, names: Iterable[str], now: datetime, *, replaces: bool = False
    ) -> timedelta | None:
        """None when the order is let in, else how long to wait."""
        wanted = [] if replaces else self._wanted(sorted(set(names)))
        waits = {what: self._wait(what, limit, now) for what, limit in wanted}
        over = {what: wait for what, wait in waits.items() if wait > timedelta(0)}
        if over:
            self.refused.append(f"{now}: {over}")
            return max(over.values())
        for what, (burst, per) in wanted:
            begin = max(self._full_at.get(what, now), now)
            self._full_at[what] = begin + per / burst
        self.allowed += 1
        return None

    def _wanted(self, names: list[str]) -> list[tuple[str, tuple[int, timedelta]]]:
        domains = sorted({".".join(name.split(".")[-2:]) for name in names})
        return [
            ("orders", ORDERS),
            ("set " + ",".join(names), PER_NAMES),
            *((f"domain {domain}", PER_DOMAIN) for domain in domains),
        ]

    def _wait(self, what: str, limit: tuple[int, timedelta], now: datetime) -> timedelta:
        """The bucket is empty when it would take longer than its whole span to fill up."""
        burst, per = limit
        room = per - per / burst
        return self._full_at.get(what, now) - now - room

"""Back-off per CA: after an outage or a rate limit nobody asks it before its time, restarts too."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from certshelf.errors import IssueError, RateLimited
from certshelf.manage.model import Bucket
from certshelf.manage.plan import retry_time

if TYPE_CHECKING:
    from certshelf.manage.db.records import Records

LIMITED = "limited"
"""The CA said when to come back: nobody asks before, not even when told to."""
DOWN = "down"
"""It did not answer: who is told to ask by hand may ask at once."""
_MAX_OUTAGE = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Hold:
    """Why and until when a CA is left alone; failures: in a row."""

    kind: str
    until: datetime
    failures: int = 1


class Holds:
    """The back-off of each issuer, in memory and in the records.

    It lies in the buckets: `tokens` counts the failures, `refilled_at` is the end.
    """

    def __init__(self) -> None:
        self._holds: dict[str, Hold] = {}

    def load(self, records: Records, issuers: list[str]) -> None:
        """What earlier runs and other managers left."""
        for name in issuers:
            for kind in (LIMITED, DOWN):
                found = records.buckets.look(name, kind)
                if found is not None and found.tokens > 0:
                    self._holds[name] = Hold(kind, found.refilled_at, int(found.tokens))

    def until(self, issuer: str, now: datetime, *, by_hand: bool) -> datetime | None:
        """Until when an issuer is not to be asked; None when it may be."""
        hold = self._holds.get(issuer)
        if hold is None or hold.until <= now or (by_hand and hold.kind == DOWN):
            return None
        return hold.until

    def after(self, issuer: str, error: IssueError, now: datetime, rng: random.Random) -> Hold:
        """The hold that follows from an error; one that has begun is not counted twice."""
        before = self._holds.get(issuer)
        limited = isinstance(error, RateLimited)
        kind = LIMITED if limited else DOWN
        asked = error.retry_at or now
        if before is not None and before.until > now and before.kind == kind:
            hold = Hold(kind, max(before.until, asked), before.failures)
        else:
            failures = before.failures + 1 if before is not None and before.kind == kind else 1
            backed_off = min(retry_time(failures, now, rng), now + _MAX_OUTAGE)
            hold = Hold(kind, asked if limited else max(asked, backed_off), failures)
        self._holds[issuer] = hold
        return hold

    def ended(self, issuer: str) -> bool:
        """Note that the CA answers again; whether that is news."""
        return self._holds.pop(issuer, None) is not None


def store(records: Records, issuer: str, hold: Hold) -> None:
    """Keep a hold across restarts."""
    records.buckets.put(Bucket(issuer, hold.kind, float(hold.failures), hold.until))


def forget(records: Records, issuer: str, now: datetime) -> None:
    """The CA answers again."""
    for kind in (LIMITED, DOWN):
        if records.buckets.look(issuer, kind) is not None:
            records.buckets.put(Bucket(issuer, kind, 0.0, now))

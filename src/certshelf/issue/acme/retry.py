"""When to ask again: Retry-After in both its forms, and how an order is polled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

FIRST_LOOK_S = 0.1
MAX_WAIT = timedelta(days=7)
_SECONDS = re.compile(r"[0-9]{1,10}", re.ASCII)


def retry_after(header: str | None, now: datetime) -> datetime | None:
    """The moment that a Retry-After header names: seconds or an HTTP date (RFC 9110 10.2.3).

    Never before now and at most seven days ahead: a longer wait is a CA's mistake, and would let
    a certificate expire. None when there is no header or it is neither form.
    """
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        return now + min(timedelta(seconds=int(text)), MAX_WAIT)
    moment = http_date(text)
    if moment is None:
        return None
    return min(max(moment, now), now + MAX_WAIT)


def http_date(text: str | None) -> datetime | None:
    """An HTTP date as aware UTC; None when it is none."""
    if not text:
        return None
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class Polling:
    """How often a CA is asked whether it is done: a setting of each issuer.

    first_s: seconds before the first look, at least 0.1: some CAs lock up when an order is read
    while it is being made (letsencrypt/pebble#554). interval_s: the wait after it when the CA
    names none, growing by half each time up to max_s. deadline_s: when to give up waiting; the
    order itself lives on, and a later run looks again.
    """

    first_s: float = 1.0
    interval_s: float = 1.0
    max_s: float = 15.0
    deadline_s: float = 180.0

    def delays(self) -> Iterator[float]:
        """The waits between looks when the CA names none, in seconds, without end."""
        yield max(self.first_s, FIRST_LOOK_S)
        delay = max(self.interval_s, FIRST_LOOK_S)
        while True:
            yield delay
            delay = min(delay * 1.5, max(self.max_s, FIRST_LOOK_S))

"""When to renew: pure functions from records and now to what is to be done."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from certshelf.manage.model import ManagedCertificate, State

SHORT_LIVED = timedelta(days=10)
JITTER = 0.05
"""How much of its life a renewal may come later, so that a batch spreads."""
_BACK_OFF = (60.0, 600.0, 6000.0)
"""Seconds after the first failures (letsencrypt.org, Integration Guide); then once a day."""
_DAY = 86400.0


def renewal_time(not_before: datetime, not_after: datetime, rng: random.Random) -> datetime:
    """When to renew a certificate whose issuer does not say: at two thirds of its life, at half of
    a life under 10 days, plus up to 5 % of it so that a batch does not come back as one.

    Source: letsencrypt.org, Integration Guide, "When to renew".
    """
    life = not_after - not_before
    part = renewal_part(life / timedelta(days=1))
    return not_before + life * (part + JITTER * rng.random())


def renewal_part(lifetime_days: float) -> float:
    """The part of its life after which a certificate is renewed at the earliest."""
    return 1 / 2 if timedelta(days=lifetime_days) < SHORT_LIVED else 2 / 3


def first_ask(now: datetime, rng: random.Random) -> datetime:
    """When to ask the CA for the renewal window of a new certificate: within six hours.

    Spread, so that a batch does not ask as one; RFC 9773 wants no answer at once.
    """
    return now + timedelta(hours=6) * rng.random()


def moment_in(
    start: datetime, end: datetime, chosen: datetime | None, rng: random.Random
) -> datetime:
    """A random moment in a renewal window (RFC 9773 section 4.2); one that lies in it stays.

    A window that has passed gives a moment that has passed: renew now.
    """
    if chosen is not None and start <= chosen <= end:
        return chosen
    return start + (end - start) * rng.random()


def is_due(certificate: ManagedCertificate, now: datetime) -> bool:
    """Whether a request would do something now, without being forced."""
    status = certificate.status
    if (
        status.state in (State.NEW, State.REVOKED)
        or status.not_after is None
        or status.renew_at is None
    ):
        return True
    return status.renew_at <= now


def retry_time(failures: int, now: datetime, rng: random.Random) -> datetime:
    """When to try again after that many failures in a row: 1, 10, 100 minutes, then daily."""
    seconds = _BACK_OFF[failures - 1] if failures <= len(_BACK_OFF) else _DAY
    return now + timedelta(seconds=seconds * (1 + 0.2 * rng.random()))

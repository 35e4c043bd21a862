"""What a CA allows, kept in the records so that a batch never meets its limits.

The registered domain of a name is taken to be its last two labels: the public suffix list is not
shipped. For names below `co.uk` and the like that counts too much together, never too little.
Names are texts: A-labels with `*.` kept, or IP addresses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from certshelf.manage.db.records import Records
    from certshelf.manage.model import Bucket, IssuerRecord

_SLACK = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` at once, and `count` more evenly over each `per`."""

    count: int
    per: timedelta

    @property
    def per_second(self) -> float:
        """How fast it refills."""
        return self.count / self.per.total_seconds()


@dataclass(frozen=True, slots=True)
class Limits:
    """One CA's limits for an account: new orders, certificates of a registered domain and of an
    exact set of names, failed validations of a name. None: no limit is known."""

    orders: Limit | None = None
    per_domain: Limit | None = None
    per_names: Limit | None = None
    failures: Limit | None = None


NONE = Limits()
LETS_ENCRYPT = Limits(
    orders=Limit(300, timedelta(hours=3)),
    per_domain=Limit(50, timedelta(days=7)),
    per_names=Limit(5, timedelta(days=7)),
    failures=Limit(5, timedelta(hours=1)),
)
"""Source: letsencrypt.org/docs/rate-limits; renewals with ARI are exempt from all but the last."""
KNOWN: Mapping[str, Limits] = MappingProxyType({"letsencrypt": LETS_ENCRYPT})


def registered_domain(name: str) -> str:
    """The last two labels, see the module; of an address itself, or the /64 that it lies in.

    Source: letsencrypt.org/docs/rate-limits, New Certificates per Registered Domain.
    """
    try:
        address = ip_address(name)
    except ValueError:
        return ".".join(name.removeprefix("*.").split(".")[-2:])
    return name if address.version == 4 else str(ip_network((address, 64), strict=False))


def names_key(names: Iterable[str]) -> str:
    """One short text for an exact set of names."""
    text = "\n".join(sorted(set(names)))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def limits_of(issuer: IssuerRecord) -> Limits:
    """What a CA is known to allow, by the `limits` of its settings."""
    return KNOWN.get(str(issuer.settings.get("limits", "")), NONE)


class Budget:
    """Spends a CA's limits for the orders of one process.

    The buckets lie in the records; the waiting lines (who was put off until when) in memory.
    """

    def __init__(self) -> None:
        self._line: dict[tuple[str, str], datetime] = {}

    def spend(
        self,
        records: Records,
        issuer: str,
        limits: Limits,
        names: tuple[str, ...],
        now: datetime,
        *,
        waited: bool,
        exempt: bool,
    ) -> datetime | None:
        """Take what one new order costs: None when it may go, else when it may.

        waited: it was put off before, and comes before those that were not. exempt: an ARI
        renewal, which only failed validations hold up.
        """
        wanted = list(_wanted(limits, names, exempt=exempt))
        slots = [self._slot(records, issuer, kind, limit, now, waited) for kind, limit in wanted]
        latest = max((slot for slot in slots if slot is not None), default=None)
        if latest is not None:
            return latest
        for kind, limit in wanted:
            if not kind.startswith("failed:"):
                _take(records, issuer, kind, limit, now)
        return None

    def failed(
        self,
        records: Records,
        issuer: str,
        limits: Limits,
        names: tuple[str, ...],
        now: datetime,
    ) -> None:
        """Count a validation that the CA found wrong."""
        if limits.failures is not None:
            _take(records, issuer, f"failed:{names_key(names)}", limits.failures, now)

    def _slot(
        self,
        records: Records,
        issuer: str,
        kind: str,
        limit: Limit,
        now: datetime,
        waited: bool,
    ) -> datetime | None:
        """None when a token is there for this order, else the moment at which its own will be."""
        line = self._line.get((issuer, kind))
        has_line = line is not None and line > now
        wait = records.buckets.wait(
            issuer, kind, now, capacity=limit.count, per_second=limit.per_second
        )
        if not wait and (waited or not has_line):
            return None
        slot = now + wait + _SLACK
        if line is not None and has_line and not waited:
            slot = max(slot, line + timedelta(seconds=1 / limit.per_second))
            self._line[issuer, kind] = slot
        elif line is None or slot > line:
            self._line[issuer, kind] = slot
        return slot


def share_left(buckets: Iterable[Bucket], limits: Limits, now: datetime) -> float | None:
    """What is left of the limit that is nearest to its end, 0.0 to 1.0; None without limits.

    buckets: the CA's, as they were last written.
    """
    if limits == NONE:
        return None
    lowest = 1.0
    for bucket in buckets:
        limit = _limit_of(bucket.kind, limits)
        if limit is not None:
            passed = max(0.0, (now - bucket.refilled_at).total_seconds())
            tokens = min(limit.count, bucket.tokens + passed * limit.per_second)
            lowest = min(lowest, tokens / limit.count)
    return lowest


def _limit_of(kind: str, limits: Limits) -> Limit | None:
    of_kind = {
        "orders": limits.orders,
        "names": limits.per_names,
        "domain": limits.per_domain,
        "failed": limits.failures,
    }
    return of_kind.get(kind.partition(":")[0])


def _wanted(limits: Limits, names: tuple[str, ...], *, exempt: bool) -> Iterable[tuple[str, Limit]]:
    if limits.failures is not None:
        yield f"failed:{names_key(names)}", limits.failures
    if exempt:
        return
    if limits.orders is not None:
        yield "orders", limits.orders
    if limits.per_names is not None:
        yield f"names:{names_key(names)}", limits.per_names
    if limits.per_domain is not None:
        for domain in sorted({registered_domain(name) for name in names}):
            yield f"domain:{domain}"[:255], limits.per_domain


def _take(records: Records, issuer: str, kind: str, limit: Limit, now: datetime) -> None:
    records.buckets.take(issuer, kind, now, capacity=limit.count, per_second=limit.per_second)

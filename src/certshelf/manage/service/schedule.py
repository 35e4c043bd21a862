"""What a tick of the scheduler hands out: a pure function of what is due and what is under way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

BUDGET_SPAN = timedelta(hours=1)
"""Over how long the renewal budget counts."""


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order that is under way, held by somebody or waiting for its time."""

    certificate: str
    retry_at: datetime | None
    lease_owner: str
    lease_until: datetime | None


def plan_tick(
    due: Sequence[str],
    open_orders: Iterable[OpenOrder],
    now: datetime,
    *,
    begun: int,
    budget: int,
    is_dead: Callable[[str], bool] = lambda owner: False,
) -> tuple[str, ...]:
    """The certificates to advance now: first those to go on with, then new orders.

    due: names, the most urgent first. begun: how many orders began within BUDGET_SPAN; budget:
    how many may, 0 for any number. Going on with an order costs no budget: it is paid for.
    is_dead: whether the holder of a lease is known to run no more.
    """
    known = {order.certificate: order for order in open_orders}
    going_on = [name for name, order in known.items() if _is_ready(order, now, is_dead)]
    new = [name for name in due if name not in known]
    if budget:
        new = new[: max(0, budget - begun)]
    return (*going_on, *new)


def _is_ready(order: OpenOrder, now: datetime, is_dead: Callable[[str], bool]) -> bool:
    if order.retry_at is not None and order.retry_at > now:
        return False
    held = order.lease_until is not None and order.lease_until > now
    return not held or is_dead(order.lease_owner)

"""An order: ask for it, look at it, finalise it (RFC 8555 sections 7.1.3 and 7.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from certshelf.errors import AcmeProblem
from certshelf.issue.acme import fields, jws
from certshelf.issue.acme.account import Account
from certshelf.issue.acme.client import AcmeClient
from certshelf.issue.acme.identifiers import Identifier
from certshelf.issue.acme.problem import from_document, unreachable
from certshelf.issue.acme.response import Response
from certshelf.issue.acme.retry import FIRST_LOOK_S, Polling


class OrderStatus(StrEnum):
    """RFC 8555 section 7.1.6: pending, ready, processing, valid; invalid from anywhere."""

    PENDING = "pending"
    READY = "ready"
    PROCESSING = "processing"
    VALID = "valid"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Order:
    """One order as the CA last told it.

    url: keep it; it is how a later run goes on. certificate: "" until the order is valid.
    expires: aware UTC, or None when the CA names none. error: why it is invalid.
    retry_at: when the CA wants the next look, or None.
    """

    url: str
    status: OrderStatus
    identifiers: tuple[Identifier, ...]
    authorizations: tuple[str, ...]
    finalize: str
    certificate: str = ""
    expires: datetime | None = None
    error: AcmeProblem | None = None
    profile: str = ""
    retry_at: datetime | None = None


async def create(
    client: AcmeClient,
    account: Account,
    identifiers: Iterable[Identifier],
    *,
    profile: str = "",
    replaces: str = "",
) -> Order:
    """Ask for a new order. NOT safe to repeat: each call is one more order at the CA.

    profile: one of Directory.profiles, "" for the CA's default. replaces: the ARI id of the
    certificate that this one follows (RFC 9773 section 5), "" for none; such an order is exempt
    from Let's Encrypt's limits and takes nothing from ours. A CA without ARI is not told it, and
    one that refuses it (already replaced, another account) is asked once more without.
    """
    directory = await client.directory()
    replaces = replaces if directory.renewal_info else ""
    payload: dict[str, object] = {"identifiers": [i.as_json() for i in identifiers]}
    if profile:
        payload["profile"] = profile
    if replaces:
        try:
            with_ari = {**payload, "replaces": replaces}
            return read(await client.post(directory.new_order, with_ari, account.signer))
        except AcmeProblem as problem:
            if problem.type not in ("alreadyReplaced", "malformed", "unauthorized"):
                raise
    await client.may_order(account.signer)
    return read(await client.post(directory.new_order, payload, account.signer))


async def fetch(client: AcmeClient, account: Account, url: str) -> Order:
    """Look at an order."""
    return replace(read(await client.post(url, None, account.signer)), url=url)


async def submit(client: AcmeClient, account: Account, order: Order, csr: bytes) -> Order:
    """Send the CSR (DER) of a ready order; the CA answers 403 orderNotReady to a second one."""
    response = await client.post(order.finalize, {"csr": jws.b64(csr)}, account.signer)
    return replace(read(response), url=order.url)


async def poll(
    client: AcmeClient,
    account: Account,
    order: Order,
    done: Callable[[Order], bool],
    polling: Polling,
) -> Order:
    """Look at the order until it is done: at the CA's Retry-After, else with growing waits.

    The first look comes polling.first_s after now. Raises IssuerUnreachable at the deadline; the
    order lives on, and a later run looks again.
    """
    deadline = client.clock.monotonic() + polling.deadline_s
    delays = polling.delays()
    wait_s = next(delays)
    while client.clock.monotonic() + wait_s <= deadline:
        await client.sleep(wait_s)
        order = await fetch(client, account, order.url)
        if done(order):
            return order
        wait_s = next(delays)
        if order.retry_at is not None:
            asked = (order.retry_at - client.clock.now()).total_seconds()
            wait_s = max(asked, FIRST_LOOK_S)
    slow = unreachable(
        f"the order is still {order.status} after {polling.deadline_s:g} s",
        client.clock.now(),
        "it goes on at the next run; the CA is slow",
    )
    slow.retry_at = order.retry_at or slow.retry_at
    raise slow


def read(response: Response) -> Order:
    """An order from an answer. Raises IssuerUnreachable when it is none."""
    document = response.json()
    error = document.get("error")
    return Order(
        url=response.object_url() if response.location else response.url,
        status=_status(fields.text(document, "status")),
        identifiers=tuple(fields.identifier(i) for i in fields.objects(document, "identifiers")),
        authorizations=fields.urls(document, "authorizations"),
        finalize=fields.url(document, "finalize"),
        certificate=fields.url(document, "certificate") if document.get("certificate") else "",
        expires=fields.moment(document, "expires"),
        error=from_document(error) if isinstance(error, dict) else None,
        profile=fields.text(document, "profile", ""),
        retry_at=response.retry_at,
    )


def _status(text: str) -> OrderStatus:
    try:
        return OrderStatus(text)
    except ValueError:
        raise fields.wrong("status", text) from None

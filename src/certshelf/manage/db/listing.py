"""Many managed certificates as plain rows for lists: columns as they lie, no whole records."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, cast, select, true

from certshelf.clock import iso
from certshelf.manage.db.tables import certificate as table
from certshelf.manage.db.tables import certificate_host as hosts
from certshelf.manage.model import State

EXPIRED = "expired"
"""The state of one whose time is over, whatever its record says."""

_COLUMNS = {
    "issuer": table.c.issuer,
    "key": table.c.key_type,
    "mode": table.c.mode,
    "auto_renew": table.c.auto_renew,
    "tags": table.c.tags,
    "groups": table.c.groups,
    "password_credential": table.c.password_credential,
    "comment": table.c.comment,
    "state": table.c.state,
    "serial": table.c.serial,
    "thumbprint": table.c.thumbprint,
    "not_before": table.c.not_before,
    "not_after": table.c.not_after,
    "renew_at": table.c.renew_at,
    "failures": table.c.failures,
    "retry_at": table.c.retry_at,
    "last_error": table.c.last_error,
    "last_run_at": table.c.last_run_at,
}
_KEYS = ("name", "hosts", *_COLUMNS)
_ENDS = list(_COLUMNS).index("not_after")


def certificate_rows(
    connection: Connection,
    now: datetime,
    *,
    state: str = "",
    expires_before: datetime | None = None,
    tag: str = "",
) -> list[dict[str, Any]]:
    """Those that fit, by name, with the keys and values that `cert show --json` has for them.

    state: of State, or `expired`; "" for any. Times are as iso() writes them, None is "none".
    """
    where: ColumnElement[bool] = true()
    if state:
        where &= _state_is(state, now)
    if expires_before is not None:
        where &= table.c.not_after < expires_before
    if tag:  # as JSON has it: a first sieve, for it may be a part of another one
        where &= cast(table.c.tags, Text).contains(json.dumps(tag), autoescape=True)
    names = _hosts(connection, where)
    columns = select(table.c.id, table.c.name, *_COLUMNS.values())
    found = connection.execute(columns.where(where).order_by(table.c.name)).all()
    rows = [_row(name, names[number], values, now) for number, name, *values in found]
    return [row for row in rows if tag in row["tags"]] if tag else rows


def _state_is(state: str, now: datetime) -> ColumnElement[bool]:
    if state == EXPIRED:
        return table.c.not_after <= now
    lasts = table.c.not_after.is_(None) | (table.c.not_after > now)
    return (table.c.state == State(state).value) & lasts


def _hosts(connection: Connection, where: ColumnElement[bool]) -> dict[int, list[str]]:
    """The hosts of each certificate, in their order, by its number."""
    found = select(hosts.c.certificate_id, hosts.c.host)
    found = found.join(table, table.c.id == hosts.c.certificate_id).where(where)
    grouped: dict[int, list[str]] = {}
    ordered = found.order_by(hosts.c.certificate_id, hosts.c.position)
    for number, host in connection.execute(ordered).all():
        grouped.setdefault(number, []).append(host)
    return grouped


def _row(name: str, names: list[str], values: list[Any], now: datetime) -> dict[str, Any]:
    plain = [
        iso(value) if isinstance(value, datetime) else None if value == "" else value
        for value in values
    ]
    row = dict(zip(_KEYS, (name, names, *plain), strict=True))
    ends = values[_ENDS]
    if ends is not None and ends <= now:
        row["state"] = EXPIRED
    return row

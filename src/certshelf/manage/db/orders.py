"""Orders in the database: durable steps, one open order a certificate, leases and fencing.

Whoever works on an order claims it first: that writes a lease and raises the generation. Every
later write names the generation it claimed; once somebody else has claimed the order, a late write
changes nothing and is RecordStale. Claims and checkpoints of many orders go into one transaction.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, select

from certshelf.errors import RecordStale
from certshelf.manage.db import rows
from certshelf.manage.db.sealing import Sealer
from certshelf.manage.db.tables import certificate as certificates
from certshelf.manage.db.tables import challenge as challenges
from certshelf.manage.db.tables import orders as table
from certshelf.manage.model import ChallengeRecord, OrderRecord, State, Step
from certshelf.secret import Secret

_KEY = "key_sealed"
_OPEN_OF = select(table).where(table.c.is_open & (table.c.certificate_id == bindparam("of")))
_OF_HOLDER = table.update().where(
    (table.c.id == bindparam("of")) & (table.c.generation == bindparam("held"))
)
_FIXED = frozenset({"id", "certificate_id", "generation", "lease_owner", "lease_until", _KEY})


class Orders:
    """One row for each run of a certificate, from intent to published."""

    def __init__(self, connection: Connection, sealer: Sealer) -> None:
        self._connection = connection
        self._sealer = sealer

    def start(
        self,
        certificate_id: int,
        issuer: str,
        now: datetime,
        *,
        replaces: str = "",
        owner: str = "",
        lease_until: datetime | None = None,
    ) -> OrderRecord:
        """Write the intent, before the CA hears of it; claimed at once when there is an owner.

        RecordError when the certificate has an open order: there is never a second one.
        """
        record = OrderRecord(
            0,
            certificate_id,
            issuer,
            created_at=now,
            replaces=replaces,
            generation=1 if owner else 0,
            lease_owner=owner,
            lease_until=lease_until,
        )
        values = rows.columns(record, without=("id",)) | {"is_open": True}
        what = f"open order for certificate number {certificate_id}"
        return replace(record, id=rows.insert(self._connection, table, values, what))

    def get(self, order_id: int) -> OrderRecord:
        """The order of that number; RecordError when there is none."""
        row = self._connection.execute(select(table).where(table.c.id == order_id)).first()
        if row is None:
            raise rows.missing(f"order number {order_id}")
        return _from_row(row)

    def open_of(self, certificate_id: int) -> OrderRecord | None:
        """The open order of a certificate, or None."""
        row = self._connection.execute(_OPEN_OF, {"of": certificate_id}).first()
        return None if row is None else _from_row(row)

    def of(self, certificate_id: int, limit: int = 20) -> list[OrderRecord]:
        """The newest orders of a certificate, newest first."""
        found = select(table).where(table.c.certificate_id == certificate_id)
        ordered = found.order_by(table.c.id.desc()).limit(limit)
        return [_from_row(row) for row in self._connection.execute(ordered)]

    def claim_due(
        self, now: datetime, owner: str, lease_until: datetime, limit: int
    ) -> list[OrderRecord]:
        """Take open orders whose time has come and that nobody holds, at most limit.

        Their generation is one higher than before: a previous holder that wakes up writes nothing.
        """
        free = (table.c.lease_until.is_(None)) | (table.c.lease_until <= now)
        due = (table.c.retry_at.is_(None)) | (table.c.retry_at <= now)
        where = table.c.is_open & (table.c.step != Step.PAUSED.value) & free & due
        found = (
            select(table.c.id)
            .where(where)
            .order_by(table.c.retry_at.nulls_first(), table.c.id)
            .limit(limit)
        )
        ids = self._connection.execute(found.with_for_update(skip_locked=True)).scalars().all()
        return self._take(list(ids), owner, lease_until)

    def claim(
        self, order_id: int, now: datetime, owner: str, lease_until: datetime
    ) -> OrderRecord | None:
        """Take one open order, also before its time; None when somebody else holds it."""
        mine = table.c.lease_owner == owner
        free = mine | (table.c.lease_until.is_(None)) | (table.c.lease_until <= now)
        where = table.c.is_open & (table.c.id == order_id) & free
        found = select(table.c.id).where(where).with_for_update()
        ids = self._connection.execute(found).scalars().all()
        return next(iter(self._take(list(ids), owner, lease_until)), None)

    def extend(self, order: OrderRecord, lease_until: datetime) -> None:
        """Keep an order that one holds for longer; RecordStale when it was taken over."""
        self._change(order, {"lease_until": lease_until})

    def checkpoint(self, order: OrderRecord, key: Secret | None = None, **changes: Any) -> None:
        """Write what was reached, under the generation that was claimed.

        changes: fields of OrderRecord (`step`, `order_url`, ...). key: the private key in PEM,
        sealed into the row; it must be there before the CA is asked to finalise.
        RecordStale, and nothing written, when another manager took the order over.
        """
        if wrong := _FIXED & changes.keys():
            raise TypeError(f"not changed by a checkpoint: {', '.join(sorted(wrong))}")
        values = {name: rows.plain(value) for name, value in changes.items()}
        if key is not None:
            values[_KEY] = self._sealer.seal(key, table.name, order.id, _KEY)
        if "step" in values:
            values["is_open"] = not Step(values["step"]).is_final
        self._change(order, values)

    def release(self, order: OrderRecord, retry_at: datetime | None = None) -> None:
        """Give an order back, to be taken again at retry_at (None: at once)."""
        self._change(order, {"lease_owner": "", "lease_until": None, "retry_at": retry_at})

    def key(self, order_id: int) -> Secret | None:
        """The private key that was sealed into an order, or None."""
        found = select(table.c[_KEY]).where(table.c.id == order_id)
        sealed = self._connection.execute(found).scalar()
        return self._sealer.open(sealed, table.name, order_id, _KEY) if sealed else None

    def count_open(self) -> int:
        """How many are under way or waiting."""
        found = select(func.count()).select_from(table).where(table.c.is_open)
        return self._connection.execute(found).scalar_one()

    def waiting(self) -> list[tuple[str, datetime | None, str, datetime | None]]:
        """Every open order of a certificate that is not paused: its name, retry_at, lease_owner
        and lease_until; those that have waited longest first.
        """
        found = (
            select(certificates.c.name, table.c.retry_at, table.c.lease_owner, table.c.lease_until)
            .join(certificates, certificates.c.id == table.c.certificate_id)
            .where(table.c.is_open & (table.c.step != Step.PAUSED.value))
            .where(certificates.c.state != State.PAUSED.value)
            .order_by(table.c.retry_at.nulls_first(), table.c.id)
        )
        return [(row[0], row[1], row[2], row[3]) for row in self._connection.execute(found)]

    def begun_since(self, moment: datetime) -> int:
        """How many orders began at or after a moment, whatever became of them."""
        found = select(func.count()).select_from(table).where(table.c.created_at >= moment)
        return self._connection.execute(found).scalar_one()

    def prune(self, finished_before: datetime) -> int:
        """Remove finished orders of old times, their keys with them; how many."""
        where = ~table.c.is_open & (table.c.finished_at < finished_before)
        return self._connection.execute(table.delete().where(where)).rowcount

    def _take(self, ids: list[int], owner: str, lease_until: datetime) -> list[OrderRecord]:
        if not ids:
            return []
        self._connection.execute(
            table.update()
            .where(table.c.id.in_(ids))
            .values(lease_owner=owner, lease_until=lease_until, generation=table.c.generation + 1)
        )
        found = (
            select(table)
            .where(table.c.id.in_(ids))
            .order_by(table.c.retry_at.nulls_first(), table.c.id)
        )
        return [_from_row(row) for row in self._connection.execute(found)]

    def _change(self, order: OrderRecord, values: dict[str, Any]) -> None:
        whole = {**values, "of": order.id, "held": order.generation}
        if self._connection.execute(_OF_HOLDER, whole).rowcount == 0:
            raise RecordStale(f"order number {order.id} was taken over by another manager")


class Challenges:
    """What was presented for an order and must be cleaned up, also after a crash."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, record: ChallengeRecord) -> None:
        """Store a challenge before it is presented, or what is known of it now."""
        where = (
            (challenges.c.order_id == record.order_id)
            & (challenges.c.host == record.host)
            & (challenges.c.type == record.type)
        )
        values = rows.columns(record)
        changed = self._connection.execute(challenges.update().where(where).values(values))
        if changed.rowcount == 0:
            what = f"challenge of order number {record.order_id}"
            rows.insert(self._connection, challenges, values, what)

    def of(self, order_id: int) -> list[ChallengeRecord]:
        """All challenges of an order, by host."""
        found = select(challenges).where(challenges.c.order_id == order_id)
        return [
            ChallengeRecord(**rows.mapping(row))
            for row in self._connection.execute(found.order_by(challenges.c.host))
        ]

    def to_clean_up(self) -> list[ChallengeRecord]:
        """Those of finished orders that are still presented."""
        found = select(challenges).join(table).where(~challenges.c.cleaned & ~table.c.is_open)
        return [ChallengeRecord(**rows.mapping(row)) for row in self._connection.execute(found)]

    def by_token(self, token: str) -> ChallengeRecord | None:
        """The challenge that an http-01 request asks for, or None."""
        found = select(challenges).where((challenges.c.token == token) & ~challenges.c.cleaned)
        row = self._connection.execute(found).first()
        return None if row is None else ChallengeRecord(**rows.mapping(row))


def _from_row(row: Row[Any]) -> OrderRecord:
    values = rows.mapping(row)
    del values["is_open"]
    return OrderRecord(**values | {"step": Step(row.step)})

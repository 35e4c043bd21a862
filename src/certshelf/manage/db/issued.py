"""Issued bundles in the database: publishing again, or on a new shelf, needs no new order."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from certshelf.manage.db import rows
from certshelf.manage.db.sealing import Sealer
from certshelf.manage.db.tables import issued as table
from certshelf.manage.model import IssuedRecord
from certshelf.secret import Secret

_KEY = "key_sealed"
_OF = (
    select(table)
    .where(table.c.certificate_id == bindparam("of"))
    .order_by(table.c.generation.desc())
    .limit(bindparam("most"))
)


class Issued:
    """The bundles of a certificate, by generation: 1, 2, ..."""

    def __init__(self, connection: Connection, sealer: Sealer) -> None:
        self._connection = connection
        self._sealer = sealer

    def add(self, record: IssuedRecord, key: Secret | None) -> None:
        """Store a bundle of a new generation; RecordError when there is one already."""
        what = f"bundle {record.generation} of certificate number {record.certificate_id}"
        rows.insert(self._connection, table, self._values(record, key), what)

    def _values(self, record: IssuedRecord, key: Secret | None) -> dict[str, Any]:
        values = rows.columns(record, without=("has_key",))
        values[_KEY] = ""
        if key is not None:
            values[_KEY] = self._sealer.seal(key, table.name, _row(record), _KEY)
        return values

    def put(self, record: IssuedRecord, key: Secret | None) -> None:
        """Store a bundle; safe to repeat. key: the private key in PEM, None when it is not ours."""
        values = self._values(record, key)
        where = _is(record.certificate_id, record.generation)
        if self._connection.execute(table.update().where(where).values(values)).rowcount == 0:
            what = f"bundle {record.generation} of certificate number {record.certificate_id}"
            rows.insert(self._connection, table, values, what)

    def newest(self, certificate_id: int) -> IssuedRecord | None:
        """The bundle of the highest generation, or None."""
        return next(iter(self.of(certificate_id, limit=1)), None)

    def of(self, certificate_id: int, limit: int = 20) -> list[IssuedRecord]:
        """The bundles of a certificate, newest first."""
        found = self._connection.execute(_OF, {"of": certificate_id, "most": limit})
        return [_from_row(row) for row in found]

    def by_thumbprint(self, thumbprint: str) -> IssuedRecord | None:
        """The bundle of that thumbprint (SHA-1, upper hex), or None."""
        row = self._connection.execute(select(table).where(table.c.thumbprint == thumbprint))
        found = row.first()
        return None if found is None else _from_row(found)

    def key(self, record: IssuedRecord) -> Secret | None:
        """The private key in PEM; None when it was never ours. CredentialError when it is lost."""
        found = select(table.c[_KEY]).where(_is(record.certificate_id, record.generation))
        sealed = self._connection.execute(found).scalar()
        return self._sealer.open(sealed, table.name, _row(record), _KEY) if sealed else None

    def set_revoked(self, record: IssuedRecord, at: datetime) -> None:
        """Note that the CA revoked it."""
        what = f"bundle {record.generation} of certificate number {record.certificate_id}"
        where = _is(record.certificate_id, record.generation)
        rows.update(self._connection, table, where, {"revoked_at": at}, what)

    def prune(self, certificate_id: int, keep: int) -> int:
        """Remove all but the newest `keep` bundles, their keys with them; how many."""
        newest = [record.generation for record in self.of(certificate_id, limit=keep)]
        where = (table.c.certificate_id == certificate_id) & table.c.generation.not_in(newest)
        return self._connection.execute(table.delete().where(where)).rowcount


def _is(certificate_id: int, generation: int) -> Any:
    return (table.c.certificate_id == certificate_id) & (table.c.generation == generation)


def _row(record: IssuedRecord) -> str:
    return f"{record.certificate_id}:{record.generation}"


def _from_row(row: Row[Any]) -> IssuedRecord:
    values = rows.mapping(row)
    return IssuedRecord(**values | {"has_key": bool(values.pop(_KEY))})

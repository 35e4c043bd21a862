"""Token buckets in the database: a CA's limits are kept across restarts and between managers."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from certshelf.manage.db import rows
from certshelf.manage.db.tables import bucket as table
from certshelf.manage.model import Bucket


class Buckets:
    """One bucket for each thing that somebody counts, by scope (an account, a CA) and kind."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def take(
        self, scope: str, kind: str, now: datetime, *, capacity: float, per_second: float
    ) -> timedelta:
        """Take one token: zero when it was there, else how long to wait, and nothing is taken.

        A bucket starts full, holds at most capacity and gets per_second tokens a second. A clock
        that went back adds nothing.
        """
        bucket = self._filled(scope, kind, now, capacity, per_second)
        if bucket.tokens < 1.0:
            return timedelta(seconds=(1.0 - bucket.tokens) / per_second)
        self.put(replace(bucket, tokens=bucket.tokens - 1.0))
        return timedelta(0)

    def wait(
        self, scope: str, kind: str, now: datetime, *, capacity: float, per_second: float
    ) -> timedelta:
        """What take() would answer; nothing is taken."""
        missing = 1.0 - self._filled(scope, kind, now, capacity, per_second).tokens
        return timedelta(seconds=max(0.0, missing) / per_second)

    def _filled(
        self, scope: str, kind: str, now: datetime, capacity: float, per_second: float
    ) -> Bucket:
        bucket = self.look(scope, kind) or Bucket(scope, kind, capacity, now)
        passed = max(0.0, (now - bucket.refilled_at).total_seconds())
        tokens = min(capacity, bucket.tokens + passed * per_second)
        return Bucket(scope, kind, tokens, max(now, bucket.refilled_at))

    def look(self, scope: str, kind: str) -> Bucket | None:
        """The bucket as it was last written, locked until the transaction ends; None if new."""
        where = (table.c.scope == scope) & (table.c.kind == kind)
        row = self._connection.execute(select(table).where(where).with_for_update()).first()
        return None if row is None else Bucket(**rows.mapping(row))

    def of(self, scope: str) -> list[Bucket]:
        """Every bucket of an account or CA, as each was last written."""
        found = self._connection.execute(select(table).where(table.c.scope == scope))
        return [Bucket(**rows.mapping(row)) for row in found]

    def put(self, bucket: Bucket) -> None:
        """Store a bucket, whether or not there was one."""
        where = (table.c.scope == bucket.scope) & (table.c.kind == bucket.kind)
        values = rows.columns(bucket)
        if self._connection.execute(table.update().where(where).values(values)).rowcount == 0:
            rows.insert(self._connection, table, values, f"bucket {bucket.scope}/{bucket.kind}")

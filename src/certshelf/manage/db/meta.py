"""Small values of the installation itself, by key: what is neither a setting nor a record."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from certshelf.manage.db.tables import meta as table

_VALUE = select(table.c.value).where(table.c.key == bindparam("of"))


class Meta:
    """Texts by key."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, key: str) -> str | None:
        """The value, or None."""
        return self._connection.execute(_VALUE, {"of": key}).scalar()

    def put(self, key: str, value: str) -> None:
        """Store a value, whether or not there was one."""
        changed = self._connection.execute(
            table.update().where(table.c.key == key).values(value=value)
        )
        if changed.rowcount == 0:
            self._connection.execute(table.insert().values(key=key, value=value))

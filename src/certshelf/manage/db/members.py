"""Members of the farm in the database."""

from __future__ import annotations

from sqlalchemy import Connection, select

from certshelf.farm import Kind, Member
from certshelf.manage.db import rows
from certshelf.manage.db.tables import member as table
from certshelf.manage.model import check_name


class Members:
    """The servers of the farm, by name."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, member: Member) -> None:
        """Store a new one; RecordError when the name is taken."""
        check_name(member.name, "member")
        rows.insert(self._connection, table, rows.columns(member), f"member {member.name!r}")

    def edit(self, member: Member) -> None:
        """Store a changed one, by name."""
        where = table.c.name == member.name
        rows.update(self._connection, table, where, rows.columns(member), _what(member.name))

    def find(self, name: str) -> Member | None:
        """The one of that name, or None."""
        return next((member for member in self.all() if member.name == name), None)

    def all(self) -> list[Member]:
        """All, by name."""
        return [
            Member(**rows.mapping(row) | {"kind": Kind(row.kind)})
            for row in self._connection.execute(select(table).order_by(table.c.name))
        ]

    def remove(self, name: str) -> None:
        """Forget one; RecordError when there is none."""
        rows.delete(self._connection, table, table.c.name == name, _what(name))


def _what(name: str) -> str:
    return f"member {name!r}"

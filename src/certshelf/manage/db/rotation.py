"""Every envelope in the database: seal them all anew under a new key, and find the lost ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, select, text, true

from certshelf.manage.db.database import Database
from certshelf.manage.db.sealing import SEAL_LOCK
from certshelf.manage.db.tables import SEALED
from certshelf.manage.keyring import KeyRing, key_id_of, place


@dataclass(frozen=True, slots=True)
class LostSecret:
    """A secret whose key is not in the key file."""

    table: str
    row: str
    key_id: str


def rotate_keys(database: Database, *, progress: Callable[[str], None] = lambda place: None) -> int:
    """Add a new key, seal every secret anew with it, drop the old keys; how many were sealed.

    One short transaction for each row, so that nobody waits for long. Killed at any instruction
    it is simply run again: a key file with more than one key is an unfinished rotation, and is
    finished without one more key. Secrets whose key is lost are left as they are.
    progress: called with each place before its row is written.
    """
    ring = database.ring
    if len(ring.ids) == 1:
        ring.add_key()
    count = 0
    for table, column in SEALED:
        for row in _rows_to_seal(database, table, column, ring.current):
            progress(place(table.name, row, column))
            count += _seal_anew(database, table, column, row, ring)
    _drop_unused(database, ring)
    return count


def lost_secrets(database: Database) -> list[LostSecret]:
    """Every secret that cannot be opened because its key is not in the key file."""
    known = database.ring.ids
    with database.read() as records:
        return [
            LostSecret(table.name, row, key_id_of(envelope))
            for table, column in SEALED
            for row, envelope in _envelopes(records.connection, table, column)
            if key_id_of(envelope) not in known
        ]


def _envelopes(connection: Connection, table: Table, column: str) -> Iterator[tuple[str, str]]:
    keys = list(table.primary_key.columns)
    found = select(*keys, table.c[column]).where(table.c[column] != "").order_by(*keys)
    for *key, envelope in connection.execute(found):
        yield ":".join(map(str, key)), envelope


def _rows_to_seal(database: Database, table: Table, column: str, current: str) -> list[str]:
    known = database.ring.ids
    with database.read() as records:
        return [
            row
            for row, envelope in _envelopes(records.connection, table, column)
            if key_id_of(envelope) != current and key_id_of(envelope) in known
        ]


def _where(table: Table, row: str) -> Any:
    """The row whose key was joined by colons (no part of a key holds one)."""
    condition: Any = true()
    for column, part in zip(table.primary_key.columns, row.split(":"), strict=True):
        condition &= column == column.type.python_type(part)
    return condition


def _seal_anew(database: Database, table: Table, column: str, row: str, ring: KeyRing) -> int:
    """One row under the current key; 0 when somebody removed or changed it meanwhile."""
    where = _where(table, row)
    with database.write() as records:
        found = select(table.c[column]).where(where).with_for_update()
        envelope = records.connection.execute(found).scalar()
        if not envelope or key_id_of(envelope) == ring.current:
            return 0
        secret = records.sealer.open(envelope, table.name, row, column)
        sealed = records.sealer.seal(secret, table.name, row, column)
        records.connection.execute(table.update().where(where).values({column: sealed}))
    return 1


def _drop_unused(database: Database, ring: KeyRing) -> None:
    """Forget the keys that no row names, while nobody else can be sealing."""
    with database.write() as records:
        if not database.is_sqlite:
            records.connection.execute(
                text("SELECT pg_advisory_xact_lock(:key)"), {"key": SEAL_LOCK}
            )
        used = {
            key_id_of(envelope)
            for table, column in SEALED
            for _, envelope in _envelopes(records.connection, table, column)
        }
        ring.drop_keys(ring.ids - used)

"""Sealing secrets for a row, within the transaction that writes the row."""

from __future__ import annotations

from sqlalchemy import Connection, text

from certshelf.manage.keyring import KeyRing, place
from certshelf.secret import Secret

SEAL_LOCK = 0x7365616C
"""PostgreSQL's advisory lock: shared by those who seal, exclusive for who drops a key."""


class Sealer:
    """Seals and opens secrets for places in the database, within one transaction.

    Sealing inside the transaction is what makes key rotation safe: the rotation drops an old key
    only when no transaction that may have sealed with it is still under way (on SQLite one writer
    at a time; on PostgreSQL the shared half of an advisory lock).
    """

    def __init__(self, connection: Connection, ring: KeyRing) -> None:
        self._connection = connection
        self._ring = ring
        self._locked = False

    def seal(self, secret: Secret, table: str, row: object, column: str) -> str:
        """The envelope of a secret for one place."""
        if not self._locked and self._connection.dialect.name == "postgresql":
            self._connection.execute(
                text("SELECT pg_advisory_xact_lock_shared(:key)"), {"key": SEAL_LOCK}
            )
            self._locked = True
        return self._ring.seal(secret, place(table, row, column))

    def open(self, envelope: str, table: str, row: object, column: str) -> Secret:
        """The secret in an envelope that lies at that place."""
        return self._ring.open(envelope, place(table, row, column))

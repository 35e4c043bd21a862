"""The fast way to a secret: the standard library reads one row of the SQLite file.

SQLAlchemy costs 0.4 s to import, and `certshelf shelf resolve` has no more than that in all.
Whatever is unusual here (another database, an older schema, a lock) is CannotPeek: the caller then
takes the full way, which also has the right error for it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

SCHEMA = "0003"
"""The schema that the statement below was written for; a test keeps it equal to the newest."""


class CannotPeek(Exception):
    """This quick look cannot tell."""


@dataclass(frozen=True, slots=True)
class SealedCredential:
    """The row of one credential."""

    username: str
    sealed: str


def peek_credential(path: Path, name: str) -> SealedCredential | None:
    """The row of one credential; None when there is none of that name."""
    try:
        with closing(_open(path)) as connection:
            version = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            if version != (SCHEMA,):
                raise CannotPeek
            query = "SELECT username, sealed FROM credential WHERE name = ?"
            row = connection.execute(query, (name,)).fetchone()
    except sqlite3.Error as error:
        raise CannotPeek from error
    return SealedCredential(*row) if row else None


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)

"""The fast way to one secret: the standard library reads one row of the SQLite file.

SQLAlchemy costs 0.4 s to import, and `certshelf shelf resolve` has no more than that in all.
Whatever is unusual here (another database, an older schema, a lock) is None: the caller then takes
the full way, which also has the right error for it.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

SCHEMA = "0001"
"""The schema that the statement below was written for; a test keeps it equal to the newest."""


def peek_sealed(path: Path, name: str) -> str | None:
    """The envelope of one credential; None when this quick look cannot tell."""
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)
    except sqlite3.Error:
        return None
    try:
        if connection.execute("SELECT version_num FROM alembic_version").fetchone() != (SCHEMA,):
            return None
        row = connection.execute("SELECT sealed FROM credential WHERE name = ?", (name,)).fetchone()
    except sqlite3.Error:
        return None
    finally:
        connection.close()
    return row[0] if row else None

"""A copy of the embedded database as it is at one moment, while others may be writing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from certshelf.errors import RecordError


def snapshot(database: Path, target: Path) -> None:
    """Copy the SQLite file whole and consistent; target is made, mode 0600 by the caller's folder.

    Raises RecordError when it cannot be read.
    """
    try:
        with (
            closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
            if copy.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise RecordError(f"{database}: the database is damaged; no backup was made")
    except sqlite3.Error as error:
        raise RecordError(f"{database}: cannot be copied: {error}") from error

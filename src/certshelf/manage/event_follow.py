"""The event log as it grows: for who watches it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from certshelf.manage.model import Event

if TYPE_CHECKING:
    from certshelf.manage.db.database import Database


def follow(
    database: Database, after: int, stop: threading.Event, *, every_seconds: float = 0.5
) -> Iterator[Event]:
    """Entries after number `after`, and new ones as they come, until stop is set."""
    seq = after
    while not stop.is_set():
        with database.read() as records:
            page = records.events.after(seq)
        yield from page
        if page:
            seq = page[-1].seq
        else:
            stop.wait(every_seconds)

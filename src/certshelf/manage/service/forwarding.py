"""Telling events to one more place, each once and in order, over restarts."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from certshelf.manage.event_outputs import EventOutput

if TYPE_CHECKING:
    from certshelf.manage.db.database import Database


class Forwarder:
    """Tells what was not told yet. The place where it stopped is kept, for each machine.

    An entry that was told just before a crash is told again. A machine that never told any begins
    with what happens from now on.
    """

    def __init__(self, database: Database, output: EventOutput, name: str) -> None:
        self._database = database
        self._output = output
        self._key = f"events-told:{name}:{platform.node()}"[:64]
        self._seq = self._begin()

    def forward(self) -> int:
        """Tell what is new, a page at most; how many. DeployError: the rest comes next time."""
        with self._database.read() as records:
            events = records.events.after(self._seq)
        told = self._seq
        try:
            for event in events:
                self._output.write(event)
                told = event.seq
        finally:
            if told != self._seq:
                self._seq = told
                with self._database.write() as records:
                    records.meta.put(self._key, str(told))
        return len(events)

    def close(self) -> None:
        """Close the output."""
        self._output.close()

    def _begin(self) -> int:
        with self._database.write() as records:
            found = records.meta.get(self._key)
            if found is not None and found.isdigit():
                return int(found)
            head, _ = records.events.head()
            records.meta.put(self._key, str(head))
            return head

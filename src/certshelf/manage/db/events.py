"""The append-only log in the database: each entry's hash covers the one before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from certshelf.errors import RecordError
from certshelf.manage.db.tables import event as table
from certshelf.manage.db.tables import meta
from certshelf.manage.events import canonical, chain_hash, check_chain, parse
from certshelf.manage.model import Event

_HEAD = "event-head"  # its row is made with the schema
_PAGE = 1000
_READ_HEAD = select(meta.c.value).where(meta.c.key == _HEAD)
_LOCK_HEAD = _READ_HEAD.with_for_update()
_MOVE_HEAD = meta.update().where(meta.c.key == _HEAD).values(value=bindparam("head"))


class Events:
    """The log. There is no way to change or remove an entry."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._locked_head: tuple[int, str] | None = None
        self._waiting: list[dict[str, Any]] = []

    def append(
        self,
        at: datetime,
        kind: str,
        subject: str,
        data: Mapping[str, Any] | None = None,
        *,
        actor: str = "",
    ) -> Event:
        """Add one entry in this transaction, so that it is there exactly when the deed is.

        kind: `certificate.issued`, ...; subject: the record's name; actor: who did it, "" for
        certshelf itself. data: plain JSON; a Secret in it is a TypeError.
        """
        text = canonical(data or {})
        seq, prev = self._locked_head or self._read_head(lock=True)
        digest = chain_hash(prev, seq + 1, at, kind, subject, actor, text)
        self._waiting.append(
            {
                "seq": seq + 1,
                "at": at,
                "kind": kind,
                "subject": subject,
                "actor": actor,
                "data": text,
                "prev_hash": prev,
                "hash": digest,
            }
        )
        self._locked_head = (seq + 1, digest)  # nobody else extends the chain until we commit
        return Event(seq + 1, at, kind, subject, actor, parse(text), prev, digest)

    def flush(self) -> None:
        """Write what was appended: once, at the end of the transaction or before a look."""
        if not self._waiting or self._locked_head is None:
            return
        waiting, self._waiting = self._waiting, []
        self._connection.execute(table.insert(), waiting)
        seq, digest = self._locked_head
        self._connection.execute(_MOVE_HEAD, {"head": f"{seq} {digest}"})

    def after(self, seq: int = 0, *, limit: int = _PAGE) -> list[Event]:
        """The entries after number seq, oldest first, at most limit."""
        self.flush()
        found = select(table).where(table.c.seq > seq).order_by(table.c.seq).limit(limit)
        return [_from_row(row) for row in self._connection.execute(found)]

    def latest(self, limit: int, *, kind: str = "", subject: str = "") -> list[Event]:
        """The newest entries that fit, oldest of them first. kind: a word or a prefix with dot."""
        self.flush()
        found = select(table).order_by(table.c.seq.desc()).limit(limit)
        if kind.endswith("."):
            found = found.where(table.c.kind.startswith(kind, autoescape=True))
        elif kind:
            found = found.where(table.c.kind == kind)
        if subject:
            found = found.where(table.c.subject == subject)
        return [_from_row(row) for row in self._connection.execute(found)][::-1]

    def all(self, after: int = 0) -> Iterator[Event]:
        """Every entry after number `after`, oldest first, a page at a time."""
        seq = after
        while page := self.after(seq):
            yield from page
            seq = page[-1].seq

    def verify(self) -> int:
        """Recompute the whole chain; how many entries it has.

        RecordError names the first entry that was changed, or says that some are missing. Whoever
        can write the database can also forge the whole chain: export the head to notice that.
        """
        count, last = check_chain(self.all())
        seq, digest = self._read_head()
        if (count, last) != (seq, digest):
            raise RecordError(f"the event log ends at entry {count}, but {seq} were written")
        return count

    def head(self) -> tuple[int, str]:
        """Number and hash of the newest entry: (0, FIRST_HASH) when there is none."""
        self.flush()
        return self._read_head()

    def _read_head(self, *, lock: bool = False) -> tuple[int, str]:
        value = self._connection.execute(_LOCK_HEAD if lock else _READ_HEAD).scalar_one()
        seq, _, digest = value.partition(" ")
        return int(seq), digest


def _from_row(row: Row[Any]) -> Event:
    return Event(
        row.seq, row.at, row.kind, row.subject, row.actor, parse(row.data), row.prev_hash, row.hash
    )

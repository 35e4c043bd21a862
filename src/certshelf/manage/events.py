"""What makes the event log trustworthy: plain data only, one canonical text, a chain of hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from certshelf.errors import RecordError
from certshelf.manage.model import Event

FIRST_HASH = "0" * 64
"""What stands before the first entry."""
MAX_DATA_BYTES = 64 * 1024


def canonical(data: Mapping[str, Any]) -> str:
    """Plain JSON in its one form: sorted keys, no spaces, ASCII.

    TypeError for anything but None, bool, int, float, str, list, tuple and dict: a Secret, bytes
    or a key must not be turned into text by accident. RecordError beyond MAX_DATA_BYTES.
    """
    _check_plain(data)
    text = json.dumps(dict(data), sort_keys=True, separators=(",", ":"), allow_nan=False)
    if len(text) > MAX_DATA_BYTES:
        raise RecordError(f"an event holds at most {MAX_DATA_BYTES} bytes, not {len(text)}")
    return text


def parse(text: str) -> dict[str, Any]:
    """The data of an entry."""
    found: dict[str, Any] = json.loads(text)
    return found


def chain_hash(
    prev: str, seq: int, at: datetime, kind: str, subject: str, actor: str, data: str
) -> str:
    """SHA-256 over the previous hash and every field, as one canonical JSON list, in hex."""
    moment = at.astimezone(UTC).isoformat(timespec="microseconds")
    text = json.dumps([prev, seq, moment, kind, subject, actor, data], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def check_chain(events: Iterable[Event]) -> tuple[int, str]:
    """Recompute hashes from the first entry on; how many there are, and the last hash.

    RecordError names the first entry that does not follow from the one before it.
    """
    seq, prev = 0, FIRST_HASH
    for event in events:
        digest = chain_hash(
            prev,
            seq + 1,
            event.at,
            event.kind,
            event.subject,
            event.actor,
            canonical(event.data),
        )
        if (event.seq, event.prev_hash, event.hash) != (seq + 1, prev, digest):
            raise RecordError(
                f"entry {event.seq} of the event log was changed, or one before it is missing",
                hint="compare with an exported copy",
            )
        seq, prev = event.seq, digest
    return seq, prev


def _check_plain(value: object) -> None:
    if value is None or isinstance(value, (bool, int, float, str)):
        return
    if isinstance(value, (list, tuple)):
        for item in value:
            _check_plain(item)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError("a key in an event's data is a text")
            _check_plain(item)
    else:
        raise TypeError(f"an event's data is plain JSON, not {type(value).__name__}")

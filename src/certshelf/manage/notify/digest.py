"""When to tell and what: one digest for many problems, each told once and again after a while."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

from certshelf.manage.notify.problems import Problem

_MAX_LINES = 50
"""Lines of each part of a digest; a farm where more is wrong has one cause, which is among them."""


@dataclass(frozen=True, slots=True)
class Told:
    """What people know. at: by problem, when it was last told; last: when anything was."""

    at: Mapping[str, datetime] = field(default_factory=lambda: MappingProxyType({}))
    last: datetime | None = None


@dataclass(frozen=True, slots=True)
class Digest:
    """One message: what is new, what is still wrong and told again, and keys that are gone."""

    new: tuple[Problem, ...] = ()
    again: tuple[Problem, ...] = ()
    gone: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Its subject line."""
        counts = [(len(self.new), "new"), (len(self.again), "still open"), (len(self.gone), "gone")]
        return ", ".join(f"{count} {what}" for count, what in counts if count)

    @property
    def text(self) -> str:
        """Its body: one line for each problem."""
        again = [problem.text for problem in self.again]
        parts = [
            _part("New", [problem.text for problem in self.new]),
            _part("Still open", again),
            _part("Gone", self.gone),
        ]
        return "\n".join(part for part in parts if part)


def decide(
    problems: Sequence[Problem], told: Told, now: datetime, every: timedelta, repeat: timedelta
) -> Digest | None:
    """The digest to send now, or None.

    The first problem is told at once. What comes within `every` after a message waits for the
    next one. What stays wrong is told again after `repeat`; what is gone is told once.
    """
    if told.last is not None and now - told.last < every:
        return None
    keys = {problem.key for problem in problems}
    digest = Digest(
        new=tuple(p for p in problems if p.key not in told.at),
        again=tuple(p for p in problems if p.key in told.at and now - told.at[p.key] >= repeat),
        gone=tuple(sorted(told.at.keys() - keys)),
    )
    return digest if digest.new or digest.again or digest.gone else None


def after_sending(told: Told, digest: Digest, now: datetime) -> Told:
    """What people know once a digest was sent."""
    kept = {key: moment for key, moment in told.at.items() if key not in digest.gone}
    kept |= {problem.key: now for problem in (*digest.new, *digest.again)}
    return Told(kept, now)


def after_failing(told: Told, now: datetime) -> Told:
    """The same when it could not be sent: nobody knows more, and it is tried again later."""
    return Told(told.at, now)


def to_json(told: Told) -> str:
    """As it is kept in the records."""
    at = {key: moment.isoformat() for key, moment in told.at.items()}
    return json.dumps({"at": at, "last": told.last.isoformat() if told.last else None})


def from_json(text: str | None) -> Told:
    """See to_json()."""
    if not text:
        return Told()
    found = json.loads(text)
    at = {key: datetime.fromisoformat(moment) for key, moment in found["at"].items()}
    return Told(at, datetime.fromisoformat(found["last"]) if found["last"] else None)


def _part(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    shown = [f"- {_clean(line)}" for line in lines[:_MAX_LINES]]
    more = [f"- and {len(lines) - _MAX_LINES} more"] if len(lines) > _MAX_LINES else []
    return "\n".join([f"{title}:", *shown, *more, ""])


def _clean(text: str) -> str:
    """One line without control characters: errors quote what strangers wrote."""
    return "".join(c if c.isprintable() else " " for c in text)[:1000]

"""Declare and forget the farm's servers, with a line in the log."""

from __future__ import annotations

from certshelf.doctor.bindings.base import split_address
from certshelf.errors import ConfigError
from certshelf.farm import Member
from certshelf.manage.bindings import bindings_of
from certshelf.manage.manager import Manager


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `HOST`, `HOST:PORT`, `[IPv6]:PORT`; ("", 0) for an empty text."""
    if not text:
        return "", 0
    where = split_address(text, 443)
    if where is None or where[0] == "*" or any(c.isspace() or c in "/@" for c in text):
        raise ConfigError(
            f"no address of a server: {text[:80]!r}", hint="give HOST:PORT, as in web1:443"
        )
    return where


def add_member(manager: Manager, member: Member) -> tuple[str, ...]:
    """Store a new one; what its bindings file leaves open. RecordError when the name is taken.

    Raises ConfigError when its bindings file cannot be read.
    """
    reading = bindings_of(member)
    with manager.database.write() as records:
        records.members.add(member)
        data = {"kind": member.kind.value, "host": member.host, "port": member.port}
        records.events.append(manager.clock.now(), "member.added", member.name, data)
    return reading.notes if reading else ()


def remove_member(manager: Manager, name: str) -> None:
    """Forget one; RecordError when there is none."""
    with manager.database.write() as records:
        records.members.remove(name)
        records.events.append(manager.clock.now(), "member.removed", name)

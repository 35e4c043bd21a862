"""Groups of servers: each has a shelf of its own, so that its reader account opens no other's keys.

One PFX password is on every server that reads a shelf, so a password shared by all protects no
server from another. A group has its own folder, its own reader account and, if wanted, its own
password; a certificate is published to every group that it belongs to.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from certshelf.clock import Clock
from certshelf.errors import RecordError
from certshelf.manage.model import check_name

if TYPE_CHECKING:
    from certshelf.manage.db.records import Records

_KEY = "groups"


@dataclass(frozen=True, slots=True)
class Group:
    """A group by name. store: where its shelf lies. The credentials are "" for the main shelf's.

    reader_credential: the login that its servers read with; "" when the doctor is not to ask as it.
    """

    name: str
    store: str
    store_credential: str = ""
    password_credential: str = ""
    reader_credential: str = ""


def all_groups(records: Records) -> list[Group]:
    """All groups, by name."""
    found = json.loads(records.meta.get(_KEY) or "[]")
    return sorted((Group(**fields) for fields in found), key=lambda g: g.name)


def get_group(records: Records, name: str) -> Group:
    """The group of that name; RecordError when there is none."""
    for group in all_groups(records):
        if group.name == name:
            return group
    raise RecordError(
        f"there is no group {name[:64]!r}", hint=f"certshelf group add {name[:64]} --store FOLDER"
    )


def add_group(records: Records, group: Group, clock: Clock) -> None:
    """Store a new one; RecordError when the name is taken."""
    check_name(group.name, "group")
    there = all_groups(records)
    if any(one.name == group.name for one in there):
        raise RecordError(f"there is a group {group.name!r} already", hint="certshelf group ls")
    _store(records, [*there, group])
    records.events.append(clock.now(), "group.added", group.name, {"store": group.store})


def remove_group(records: Records, name: str, clock: Clock) -> None:
    """Forget one; its folder stays. RecordError while a certificate or a member belongs to it."""
    group = get_group(records, name)
    users = [c.name for c in records.certificates.all() if name in c.groups]
    users += [m.name for m in records.members.all() if m.group == name]
    if users:
        raise RecordError(
            f"cannot remove the group {name}: {', '.join(users[:5])} belong to it",
            hint="change or remove them first",
        )
    _store(records, [one for one in all_groups(records) if one != group])
    records.events.append(clock.now(), "group.removed", name)


def _store(records: Records, groups: list[Group]) -> None:
    records.meta.put(_KEY, json.dumps([asdict(group) for group in groups]))

"""What a Windows server's plan needs of a home, and running it with a transcript in the log."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from certshelf.errors import ConfigError, DeployError, NameInvalid
from certshelf.farm import Binding, Kind, Member
from certshelf.iis.apply import apply
from certshelf.iis.remote import Argument, Connect, Remote, Transcript
from certshelf.manage.bindings import read_bindings
from certshelf.manage.groups import all_groups
from certshelf.manage.home import find_home
from certshelf.manage.manager import Manager, open_manager
from certshelf.manage.publishing import group_settings, open_group_shelf
from certshelf.names import HostName
from certshelf.shelf.inventory import pfx_entries
from certshelf.shelf.shelf import Shelf

_KEPT_LINES = 200


@dataclass(frozen=True, slots=True)
class PlanningFacts:
    """store: the shelf as Windows names it, "" when it is not on a share or a drive."""

    store: str = ""
    bindings: tuple[Binding, ...] = ()
    on_shelf: frozenset[HostName] = frozenset()


def planning_facts(home: Path | None, server: str, bindings: Path | None) -> PlanningFacts:
    """Where the shelf is, what lies there, and what the server listens for.

    Without a home only the bindings file is read. bindings: None for the declared member's.
    """
    if not find_home(home, os.environ).exists:
        listed = read_bindings(bindings, Kind.IIS).bindings if bindings else ()
        return PlanningFacts(bindings=listed)
    with open_manager(home) as manager:
        member = _member(manager, server)
        file = bindings or (Path(member.bindings) if member and member.bindings else None)
        store = store_for(manager, server)
        return PlanningFacts(
            store=windows_path(store),
            bindings=read_bindings(file, Kind.IIS).bindings if file else (),
            on_shelf=_hosts(shelf_for(manager, server)) if store else frozenset(),
        )


def iis_servers(home: Path | None) -> list[str]:
    """The declared servers that are IIS, by name."""
    with open_manager(home) as manager, manager.database.read() as records:
        return sorted(m.name for m in records.members.all() if m.kind is Kind.IIS)


def store_for(manager: Manager, server: str) -> str:
    """The address of the shelf that a server reads: its group's, or the main one."""
    group = _group(manager, server)
    return (group_settings(manager, group) if group else manager.settings).shelf.store


def shelf_for(manager: Manager, server: str) -> Shelf:
    """The shelf that a server reads: its group's, or the main one."""
    group = _group(manager, server)
    return open_group_shelf(manager, group) if group else manager.shelf


def _group(manager: Manager, server: str) -> str:
    """The server's group when that has a shelf of its own, else ""."""
    member = _member(manager, server)
    with manager.database.read() as records:
        names = {group.name for group in all_groups(records)}
    return member.group if member and member.group in names else ""


def _member(manager: Manager, server: str) -> Member | None:
    """The declared server of that name, or of that address."""
    with manager.database.read() as records:
        members = list(records.members.all())
    wanted = server.lower()
    by_name = (m for m in members if m.name.lower() == wanted)
    by_host = (m for m in members if m.host.lower() == wanted and m.kind is Kind.IIS)
    return next(by_name, None) or next(by_host, None)


def windows_path(store: str) -> str:
    r"""`smb://server/share/folder` as `\\server\share\folder`; a Windows path as it is; else ""."""
    if store.startswith("smb://"):
        parts = urlsplit(store)
        folders = [unquote(part) for part in parts.path.split("/") if part]
        return "\\\\" + "\\".join([parts.hostname or "", *folders])
    return store if store[1:3] == ":\\" or store.startswith("\\\\") else ""


def apply_recorded(
    manager: Manager,
    remote: Remote,
    script: str,
    arguments: Mapping[str, Argument],
    say: Transcript,
    connect: Connect | None = None,
) -> None:
    """Run a script on a server; what it said goes to say, and into the log at its end.

    Raises DeployError when it failed, ConfigError without the extra; both are in the log too.
    """
    lines: list[str] = []

    def note(stream: str, line: str) -> None:
        lines.append(f"{stream}: {line}")
        say(stream, line)

    error = ""
    try:
        apply(remote, script, arguments, note, connect)
    except (DeployError, ConfigError) as failure:
        error = str(failure)
        raise
    finally:
        data = {"error": error, "transcript": lines[-_KEPT_LINES:]}
        with manager.database.write() as records:
            records.events.append(manager.clock.now(), "iis.applied", remote.host, data)


def _hosts(shelf: Shelf) -> frozenset[HostName]:
    hosts = set()
    for entry in pfx_entries(shelf.store):
        try:
            hosts.add(HostName.from_file_name(entry.key))
        except NameInvalid:
            continue
    return frozenset(hosts)

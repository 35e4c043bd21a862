"""`certshelf member`: the servers of the farm, as the doctor asks them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from certshelf.cli import output

if TYPE_CHECKING:
    from certshelf.farm import Member
    from certshelf.manage.manager import Manager

_KINDS = ["iis", "nginx", "haproxy", "envoy", "caddy", "traefik", "apache", "python", "other"]
_WINDOWS = ["2012", "2012r2", "2016", "2019", "2022", "2025"]


@click.group()
def command() -> None:
    """Declare the servers of the farm, so that the doctor can ask them."""


@command.command()
@click.argument("name")
@click.argument("address", metavar="[HOST:PORT]", required=False, default="")
@click.option("--kind", type=click.Choice(_KINDS), required=True, help="What answers TLS there.")
@click.option("--windows", type=click.Choice(_WINDOWS), help="Its Windows Server.")
@click.option("--group", default="", help="The group of servers that it belongs to.")
@click.option(
    "--bindings",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Its configuration file: what it listens for.",
)
@click.pass_obj
def add(
    home: Path | None,
    name: str,
    address: str,
    kind: str,
    windows: str | None,
    group: str,
    bindings: Path | None,
) -> None:
    """Declare the server NAME; HOST:PORT is where to ask it (443 when no port is given)."""
    from certshelf.farm import Kind, Member
    from certshelf.manage.manager import open_manager
    from certshelf.manage.members import add_member, parse_address

    host, port = parse_address(address)
    file = str(bindings.resolve()) if bindings else ""
    member = Member(name, Kind(kind), host, port, windows or "", group, file)
    with open_manager(home) as manager:
        notes = add_member(manager, member)
        output.ok(f"{name} added: certshelf doctor asks it")
        _fit_profile(manager)
    for note in notes:
        output.say(f"   not read: {note}", err=True)


@command.command("ls")
@output.as_json
@click.pass_obj
def list_members(home: Path | None, as_json: bool) -> None:
    """List the servers of the farm."""
    from certshelf.manage.manager import open_manager

    with open_manager(home) as manager, manager.database.read() as records:
        found = [_member_json(member) for member in records.members.all()]
    if as_json:
        output.print_json(found)
    else:
        headers = ("NAME", "KIND", "HOST", "PORT", "WINDOWS", "GROUP", "BINDINGS")
        output.print_table(headers, [tuple(row.values()) for row in found])


@command.command("rm")
@click.argument("name")
@click.pass_obj
def remove(home: Path | None, name: str) -> None:
    """Forget the server NAME; nothing on it changes."""
    from certshelf.manage.manager import open_manager
    from certshelf.manage.members import remove_member

    with open_manager(home) as manager:
        remove_member(manager, name)
        output.ok(f"{name} removed")
        _fit_profile(manager)


def _fit_profile(manager: Manager) -> None:
    from certshelf.manage.profiles import fit_profile

    with output.progress("rewriting") as step:
        changed = fit_profile(manager, step)
    if changed is None:
        return
    profile, left = changed
    output.ok(f"the shelf's files are encrypted as {profile.value} now")
    for file in left:
        output.say(f"   not rewritten: {file}", err=True)


def _member_json(member: Member) -> dict[str, object]:
    return {
        "name": member.name,
        "kind": member.kind.value,
        "host": member.host or None,
        "port": member.port or None,
        "windows": member.windows or None,
        "group": member.group or None,
        "bindings": member.bindings or None,
    }

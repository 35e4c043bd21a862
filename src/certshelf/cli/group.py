"""`certshelf group`: groups of servers with a shelf of their own."""

from __future__ import annotations

from pathlib import Path

import click

from certshelf.cli import output


@click.group()
def command() -> None:
    """Split the farm into groups whose servers cannot read each other's keys."""


@command.command()
@click.argument("name")
@click.option("--store", required=True, help="Where the group's shelf lies.")
@click.option("--store-credential", default="", help="The login of its store.")
@click.option("--password-credential", default="", help="The password of its PFX files.")
@click.option("--reader-credential", default="", help="The login that its servers read with.")
@click.pass_obj
def add(
    home: Path | None,
    name: str,
    store: str,
    store_credential: str,
    password_credential: str,
    reader_credential: str,
) -> None:
    """Add the group NAME; cert add --group NAME publishes there."""
    from certshelf.manage.groups import Group, add_group
    from certshelf.manage.manager import open_manager
    from certshelf.manage.publishing import group_settings
    from certshelf.manage.setup import absolute_store, make_shelf_folder, prepare_store

    where = absolute_store(store)
    group = Group(name, where, store_credential, password_credential, reader_credential)
    with open_manager(home) as manager:
        make_shelf_folder(group.store)
        with manager.database.write() as records:
            add_group(records, group, manager.clock)
        made = prepare_store(manager.home, group_settings(manager, name))
    if made:
        output.ok(f"made {made}")
    output.ok(f"group {name} added: certshelf cert add HOST --group {name} publishes there")


@command.command("ls")
@output.as_json
@click.pass_obj
def list_groups(home: Path | None, as_json: bool) -> None:
    """List the groups."""
    from dataclasses import asdict

    from certshelf.manage.groups import all_groups
    from certshelf.manage.manager import open_manager

    with open_manager(home) as manager, manager.database.read() as records:
        rows = [asdict(group) for group in all_groups(records)]
    if as_json:
        output.print_json(rows)
    else:
        headers = ("NAME", "STORE", "STORE LOGIN", "PASSWORD", "READER LOGIN")
        output.print_table(headers, [tuple(row.values()) for row in rows])


@command.command("rm")
@click.argument("name")
@click.pass_obj
def remove(home: Path | None, name: str) -> None:
    """Forget the group NAME; its folder stays."""
    from certshelf.manage.groups import remove_group
    from certshelf.manage.manager import open_manager

    with open_manager(home) as manager, manager.database.write() as records:
        remove_group(records, name, manager.clock)
    output.ok(f"group {name} removed; its folder stays")

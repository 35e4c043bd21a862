"""`certshelf share`: who may do what with a shelf's share: plan it, set it, check it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from certshelf.cli import output

if TYPE_CHECKING:
    from certshelf.store.smb import SmbStore

_LOGIN = click.option(
    "--login", default="", help="The named login to use; default: the shelf's own."
)

_GROUP = click.option("--group", default="", help="The shelf of this group, not the main one.")


@click.group()
def command() -> None:
    """Plan, set and check who may do what with the shelf's share."""


@command.command()
@click.option("--path", required=True, help="The folder on the file server: D:\\certs.")
@click.option("--name", default="certs", show_default=True, help="The name of the share.")
@click.option("--writer", required=True, help="The manager's account; DOMAIN\\MACHINE$ works too.")
@click.option("--reader", "readers", required=True, multiple=True, help="Repeat for more accounts.")
@click.option(
    "--server",
    type=click.Choice(["windows", "samba"]),
    default="windows",
    show_default=True,
    help="What the file server is.",
)
def plan(path: str, name: str, writer: str, readers: tuple[str, ...], server: str) -> None:
    """Print the commands that make the share; nothing is run."""
    from certshelf.iis.share import SharePlan, samba_plan, windows_plan

    wanted = SharePlan(name=name, path=path, writer=writer, readers=readers)
    output.say(windows_plan(wanted) if server == "windows" else samba_plan(wanted), nl=False)


@command.command()
@click.option(
    "--reader",
    "readers",
    required=True,
    multiple=True,
    help="The account or group that servers read with; repeat for more.",
)
@click.option("--writer", required=True, help="The account that the manager writes with.")
@_LOGIN
@_GROUP
@click.option("--dry-run", is_flag=True, help="Find the accounts, and change nothing.")
@click.pass_obj
def grant(
    home: Path | None,
    readers: tuple[str, ...],
    writer: str,
    login: str,
    group: str,
    dry_run: bool,
) -> None:
    """Give the folder exactly the rights of its readers and one writer, over SMB.

    The login must be allowed to change permissions there: an administrator's, not the writer's.
    """
    from certshelf.shelf.access import grant as set_access

    store = _share(home, login, group)
    try:
        set_access(store, readers=readers, writer=writer, dry_run=dry_run)
    finally:
        store.close()
    if dry_run:
        output.say(f"would be set on {store.url}: {writer} modifies, {', '.join(readers)} reads")
        return
    output.ok(f"{store.url}: {writer} modifies, {', '.join(readers)} reads, administrators keep it")
    output.say("next: certshelf share check --reader-login NAME")


@command.command()
@click.option("--reader-login", default="", help="The named login that servers read with.")
@click.option("--account", "accounts", multiple=True, help="A further account that belongs there.")
@_LOGIN
@_GROUP
@output.as_json
@click.pass_obj
def check(
    home: Path | None,
    reader_login: str,
    accounts: tuple[str, ...],
    login: str,
    group: str,
    as_json: bool,
) -> int:
    """Say what is wrong with who may do what; asks the server, writes nothing.

    Exit status 1 when anything is wrong.
    """
    from certshelf.finding import Severity
    from certshelf.shelf.access import check as judge_access

    store = _share(home, login, group)
    reader = _share(home, reader_login, group) if reader_login else None
    try:
        findings = judge_access(store, reader, accounts=accounts)
    finally:
        store.close()
        if reader is not None:
            reader.close()
    if as_json:
        output.print_json([finding.as_json() for finding in findings])
    else:
        for finding in findings:
            output.print_finding(finding)
        if reader is None:
            output.say("the reader was not asked: --reader-login NAME asks as the servers do")
    return 1 if any(f.severity in (Severity.WARNING, Severity.ERROR) for f in findings) else 0


def _share(home: Path | None, login: str, group: str) -> SmbStore:
    from certshelf.manage.shelves import open_configured_store, open_store_of
    from certshelf.shelf.access import on_share

    if not group:
        return on_share(open_configured_store(home, login=login))
    from certshelf.manage.manager import open_manager
    from certshelf.manage.publishing import group_settings

    with open_manager(home) as manager:
        return on_share(open_store_of(manager.home, group_settings(manager, group), login))

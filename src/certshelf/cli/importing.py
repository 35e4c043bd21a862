"""`certshelf import`: take over what another tool keeps issued, after showing it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from certshelf.cli import output
from certshelf.cli.secrets import password_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from certshelf.manage.changes import Change
    from certshelf.manage.manager import Manager
    from certshelf.secret import Secret

_FORMATS = ["certbot", "acme.sh", "win-acme", "certify", "csv", "ccs"]


@click.command()
@click.argument("form", metavar="FORMAT", type=click.Choice(_FORMATS))
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--issuer", default="", help="Who signs the next one.  [default: as now, if known]")
@password_file
@click.option("--dry-run", is_flag=True, help="Show what would be taken over, change nothing.")
@output.as_json
@click.pass_obj
def command(
    home: Path | None,
    form: str,
    path: Path,
    issuer: str,
    password_file: Path | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Take over what another tool keeps issued; the tool's files are only read.

    FORMAT: certbot (/etc/letsencrypt), acme.sh (~/.acme.sh), win-acme (also simple-acme),
    certify (its settings export), csv (as Certify imports it), ccs (a folder of PFX files).
    Exit status 1 when something had to be left.
    """
    from certshelf.cli.apply import print_changes
    from certshelf.cli.secrets import read_secret_file
    from certshelf.manage.changes import Action, apply_changes
    from certshelf.manage.importing.formats import FORMATS
    from certshelf.manage.importing.plan import plan_import
    from certshelf.manage.issuers import all_issuers
    from certshelf.manage.manager import open_manager

    secret = read_secret_file(password_file) if password_file else None
    with open_manager(home) as manager:
        if form == "ccs" and secret is None:
            secret = _shelf_password(manager)
        found = FORMATS[form](path, secret)
        with manager.database.read() as records:
            there, issuers = records.certificates.all(), all_issuers(records)
        changes = plan_import(found, there, issuers, manager.settings.certificates, issuer)
        if not dry_run:
            apply_changes(manager, changes)
            if form == "ccs":
                _adopt(manager, path, changes)
    print_changes(changes, dry_run=dry_run, as_json=as_json)
    if not as_json and not dry_run and any(c.action is Action.ADD for c in changes):
        output.say("   certshelf cert request NAME publishes one on the shelf", err=True)
    return 1 if any(c.action is Action.LEFT for c in changes) else 0


def _shelf_password(manager: Manager) -> Secret | None:
    from certshelf.manage.credentials import read_secret

    settings = manager.settings
    return read_secret(manager.home, settings, settings.shelf.password_credential)


def _adopt(manager: Manager, path: Path, changes: Sequence[Change]) -> None:
    """Take over the files of the shelf itself, when that is the folder that was imported."""
    from certshelf.errors import CertshelfError, ShelfError
    from certshelf.manage.changes import Action
    from certshelf.manage.shelves import local_folder

    folder = local_folder(manager.settings.shelf.store)
    if folder is None or folder.resolve() != path.resolve():
        return
    for change in changes:
        if change.action is not Action.ADD or change.wish is None:
            continue
        for host in change.wish.hosts:
            try:
                manager.shelf.adopt(host)
            except ShelfError:
                continue  # this host has no file of its own, or another manager's
            except CertshelfError as error:
                output.bad(f"{host} not adopted", error)

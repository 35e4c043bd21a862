"""`certshelf restore`: a new home from a backup."""

from __future__ import annotations

from pathlib import Path

import click

from certshelf.cli import output


@click.command()
@click.argument("backup", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--identity-file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The file with the AGE-SECRET-KEY-1... that opens it.",
)
@click.pass_obj
def command(home: Path | None, backup: Path, identity_file: Path) -> None:
    """Make a new home (--home) from BACKUP; then put its key file there."""
    import os

    from certshelf.cli.secrets import read_secret_file
    from certshelf.manage.backup import read_backup
    from certshelf.manage.home import find_home

    text = read_secret_file(identity_file).reveal()
    identity = next((x for x in text.splitlines() if x.startswith("AGE-SECRET-KEY-")), text)
    where = find_home(home, os.environ)
    count = read_backup(backup, identity, where)
    output.ok(f"{where.path}: {count} files restored")
    if not where.keys.exists():
        output.say(f"next: put the key file to {where.keys}")
        output.say("      it is lost? certshelf credential ls says which secrets are gone")

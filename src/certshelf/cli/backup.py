"""`certshelf backup`: the home in one encrypted file, without its keys."""

from __future__ import annotations

from pathlib import Path

import click

from certshelf.cli import output


@click.command()
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--recipient", "recipients", multiple=True, required=True, help="age1...; repeatable."
)
@click.pass_obj
def command(home: Path | None, out: Path, recipients: tuple[str, ...]) -> None:
    """Write settings, records and history to OUT, encrypted to age recipients.

    The key file is not inside: keep a copy of it elsewhere, or its secrets are gone.
    """
    from certshelf.clock import SYSTEM
    from certshelf.manage.backup import write_backup
    from certshelf.manage.shelves import open_settings

    where, _ = open_settings(home)
    made = write_backup(where, list(recipients), out, SYSTEM)
    output.ok(f"{out}: {made.files} files, {made.size_bytes} bytes")
    output.say(f"keep {where.keys} elsewhere: it is not in the backup")

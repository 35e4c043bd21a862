"""`certshelf export`: what is kept issued, as a file that `apply` or another tool reads."""

from __future__ import annotations

from pathlib import Path

import click

from certshelf.cli import output


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["toml", "json", "csv"]),
    default="toml",
    show_default=True,
    help="csv: as Certify's import reads it.",
)
@click.pass_obj
def command(home: Path | None, form: str) -> None:
    """Print certificates and their tasks: certs.toml for `certshelf apply`, JSON or CSV.

    Wishes only: no key, no secret, no state. Redirect it to a file.
    """
    from certshelf.manage import declared
    from certshelf.manage.manager import open_manager

    with open_manager(home) as manager, manager.database.read() as records:
        tasks = records.tasks.by_certificate()
        found = [
            declared.Declared(one, tuple(tasks.get(one.id, ())))
            for one in records.certificates.all()
        ]
    write = {"toml": declared.to_toml, "json": declared.to_json, "csv": declared.to_csv}[form]
    output.say(write(found), nl=False)

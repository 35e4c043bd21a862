"""`certshelf shelf rotate-password`: another PFX password for a shelf that servers are reading."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from certshelf.cli import output

if TYPE_CHECKING:
    from certshelf.manage.manager import Manager
    from certshelf.manage.rotation import Rotation


@click.group("rotate-password")
def command() -> None:
    """Change the PFX password: a second folder, server by server, then the old one goes."""


@command.command()
@click.option("--to", "to", help="The new folder, share or bucket; begins the change.")
@click.option(
    "--password-file", type=click.Path(path_type=Path), help="The new password; default: random."
)
@output.as_json
@click.pass_obj
def plan(home: Path | None, to: str | None, password_file: Path | None, as_json: bool) -> None:
    """Lay out the steps, with the command for each server; touches no file of the shelf."""
    from dataclasses import asdict

    from certshelf.cli.secrets import read_secret_file
    from certshelf.manage.manager import open_manager
    from certshelf.manage.rotation import find_rotation, plan_rotation, steps
    from certshelf.manage.setup import absolute_store

    with open_manager(home) as manager:
        if to is not None:
            secret = read_secret_file(password_file) if password_file else None
            rotation = plan_rotation(manager, absolute_store(to), secret)
        else:
            rotation = _under_way(find_rotation(manager))
        with manager.database.read() as records:
            members = records.members.all()
        found = steps(rotation, members)
    if as_json:
        output.print_json([asdict(step) for step in found])
        return
    for number, step in enumerate(found, 1):
        mark = "done" if step.done else "    "
        output.say(f"{number}. {mark} {step.who}: {step.what}")
        if step.command and not step.done:
            output.say(f"        {step.command}")


@command.command()
@click.option("--switched", is_flag=True, help="Every server reads the new folder now.")
@click.option("--retire", is_flag=True, help="Remove our files from the old folder.")
@click.pass_obj
def apply(home: Path | None, switched: bool, retire: bool) -> int:
    """Do certshelf's part of the next step; can be repeated after any interruption."""
    from certshelf.manage.manager import open_manager
    from certshelf.manage.rotation import find_rotation, retire_old, switch

    if switched and retire:
        raise click.UsageError("give --switched or --retire, one after the other")
    with open_manager(home) as manager:
        rotation = _under_way(find_rotation(manager))
        if retire:
            for file in retire_old(manager, rotation):
                output.say(f"left {file}: somebody else wrote it")
            output.ok(f"our files are gone from {rotation.old_store}; the change is complete")
            return 0
        rotation, left = _copy(manager, rotation)
        if switched:
            switch(manager, rotation)
            output.ok(f"the shelf is {rotation.new_store} now")
        else:
            output.ok(f"{rotation.new_store} is filled; renewals go to both folders from now on")
            output.say("next: switch the servers (certshelf shelf rotate-password plan lists them)")
    return 1 if left else 0


def _copy(manager: Manager, rotation: Rotation) -> tuple[Rotation, int]:
    from certshelf.manage.rotation import Stage, copy

    if rotation.stage is Stage.SWITCHED:
        return rotation, 0
    with output.progress("copying") as step:
        rotation, skipped = copy(manager, rotation, step)
    for one in skipped:
        output.say(f"not copied: {one.file}: {one.why}", err=True)
    return rotation, len(skipped)


def _under_way(rotation: Rotation | None) -> Rotation:
    from certshelf.errors import RecordError

    if rotation is None:
        raise RecordError(
            "no change of the PFX password is under way",
            hint="certshelf shelf rotate-password plan --to NEW_FOLDER begins one",
        )
    return rotation

"""`certshelf apply`: make what is kept issued as a file declares it, after showing the changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from certshelf.cli import output

if TYPE_CHECKING:
    from certshelf.manage.changes import Change

_MARKS = {
    "add": ("+", "green"),
    "change": ("~", "yellow"),
    "remove": ("-", "red"),
    "same": ("=", None),
    "left": ("!", "red"),
}


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Show the changes, make none.")
@click.option("--prune", is_flag=True, help="Remove certificates that the file does not name.")
@output.as_json
@click.pass_obj
def command(home: Path | None, file: Path, dry_run: bool, prune: bool, as_json: bool) -> None:
    """Make the managed certificates as FILE (certs.toml) declares them, all or none.

    Nothing is issued yet, and no file of the shelf is touched.
    """
    from certshelf.manage.changes import apply_changes, plan_changes, with_tasks
    from certshelf.manage.declared import parse
    from certshelf.manage.importing.base import MAX_EXPORT, read_text
    from certshelf.manage.manager import open_manager

    text = read_text(file, MAX_EXPORT)
    with open_manager(home) as manager:
        declared = parse(text, str(file), manager.settings.certificates)
        with manager.database.read() as records:
            there, tasks = records.certificates.all(), records.tasks.by_certificate()
        changes = with_tasks(
            plan_changes([one.wish for one in declared], there, prune=prune),
            {one.wish.name: one.tasks for one in declared},
            {one.name: tasks.get(one.id, []) for one in there},
        )
        apply_changes(manager, changes, dry_run=dry_run)
    print_changes(changes, dry_run=dry_run, as_json=as_json)
    if not prune and not as_json:
        named = {one.wish.name for one in declared}
        if rest := sum(one.name not in named for one in there):
            output.say(f"   {rest} more not named in {file}: --prune removes them", err=True)


def print_changes(changes: Sequence[Change], *, dry_run: bool, as_json: bool) -> None:
    """A plan as a diff, and its sum."""
    if as_json:
        done = {"dry_run": dry_run, "changes": [change.as_json() for change in changes]}
        output.print_json(done)
        return
    for change in changes:
        _print_change(change)
    counts = {action: sum(c.action.value == action for c in changes) for action in _MARKS}
    words = ", ".join(f"{count} {action}" for action, count in counts.items() if count)
    output.say(f"{words or 'nothing to do'}{'; nothing was changed' if dry_run else ''}")


def _print_change(change: Change) -> None:
    mark, colour = _MARKS[change.action.value]
    hosts = ""
    if change.action.value == "add" and change.wish:
        shown = list(change.wish.names)
        hosts = f"  {', '.join(shown[:4])}{f' +{len(shown) - 4}' if len(shown) > 4 else ''}"
        hosts += f"  ({change.wish.issuer}, {change.wish.key_type})"
    click.secho(output.clean(f"{mark} {change.name}{hosts}"), fg=colour)
    for field, was, new in change.fields:
        output.say(f"    {field}: {was} -> {new}")
    for note in change.notes:
        output.say(f"    {note}")

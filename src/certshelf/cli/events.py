"""`certshelf events`: the append-only log of what happened."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from certshelf.cli import output

if TYPE_CHECKING:
    from certshelf.manage.model import Event


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.option("--follow", is_flag=True, help="Go on with what happens from now on.")
@click.option("--subject", default="", help="Only of this certificate, file or credential.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="How many of the newest.",
)
@click.option("--verify", is_flag=True, help="Recompute the log's hash chain instead.")
@click.pass_context
def command(
    ctx: click.Context, as_json: bool, follow: bool, subject: str, limit: int, verify: bool
) -> None:
    """Show what happened, oldest first."""
    if ctx.invoked_subcommand is not None:
        return
    from certshelf.manage.manager import open_manager

    with open_manager(ctx.obj) as manager:
        with manager.database.read() as records:
            if verify:
                output.ok(f"{records.events.verify()} events, the chain is whole")
                return
            events = records.events.latest(limit, subject=subject)
        for event in events:
            _print(event, as_json)
        if follow:
            from certshelf.manage.event_follow import follow as new_events

            last = events[-1].seq if events else 0
            for event in new_events(manager.database, last, threading.Event()):
                if not subject or event.subject == subject:
                    _print(event, as_json)


@command.command()
@click.option(
    "--format",
    "how",
    type=click.Choice(["jsonl", "ocsf"]),
    default="jsonl",
    show_default=True,
    help="Whole entries with their hashes, or the fields of OCSF.",
)
@click.option("--after", default=0, show_default=True, help="Only entries after this number.")
@click.pass_obj
def export(home: Path | None, how: str, after: int) -> None:
    """Print every event for another program, one JSON object a line, oldest first."""
    from certshelf.manage.event_export import FORMATS
    from certshelf.manage.manager import open_manager

    with open_manager(home) as manager, manager.database.read() as records:
        for event in records.events.all(after):
            click.echo(FORMATS[how](event))


def _print(event: Event, as_json: bool) -> None:
    from certshelf.clock import iso

    if as_json:
        output.say(output.json_text(event_json(event)))
        return
    data = " ".join(f"{k}={_words(v)}" for k, v in event.data.items() if v not in (None, "", []))
    line = f"{iso(event.at)}  {event.kind:<24} {event.subject}  {data}"
    output.say(output.clean(line).rstrip())


def _words(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def event_json(event: Event) -> dict[str, object]:
    """One event for programs."""
    from certshelf.clock import iso

    return {
        "seq": event.seq,
        "at": iso(event.at),
        "kind": event.kind,
        "subject": event.subject,
        "actor": event.actor or None,
        "data": dict(event.data),
        "hash": event.hash,
    }

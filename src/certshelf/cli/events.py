"""`certshelf events`: the append-only log of what happened."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from certshelf.cli import output

if TYPE_CHECKING:
    from certshelf.manage.model import Event


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.option("--follow", is_flag=True, help="Go on with what happens from now on.")
@click.option("--subject", default="", help="Only of this certificate, file or credential.")
@click.option("--limit", default=1000, show_default=True, help="How many of the newest.")
@click.option("--verify", is_flag=True, help="Recompute the log's hash chain instead.")
@click.pass_obj
def command(
    home: Path | None, as_json: bool, follow: bool, subject: str, limit: int, verify: bool
) -> None:
    """Show what happened, oldest first."""
    from certshelf.manage.manager import open_manager

    with open_manager(home) as manager:
        with manager.database.read() as records:
            if verify:
                output.ok(f"{records.events.verify()} events, the chain is whole")
                return
            events = records.events.latest(limit, subject=subject)
        for event in events:
            _print(event, as_json)
        if follow:
            from certshelf.manage.events import follow as new_events

            last = events[-1].seq if events else 0
            for event in new_events(manager.database, last, threading.Event()):
                if not subject or event.subject == subject:
                    _print(event, as_json)


def _print(event: Event, as_json: bool) -> None:
    from certshelf.clock import iso

    if as_json:
        click.echo(json.dumps(event_json(event), ensure_ascii=False))
        return
    data = " ".join(f"{key}={value}" for key, value in event.data.items())
    click.echo(f"{iso(event.at)}  {event.kind:<24} {event.subject}  {data}".rstrip())


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

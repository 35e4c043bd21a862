"""`certshelf run`: the service in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from certshelf.cli import output

if TYPE_CHECKING:
    import asyncio


@click.command()
@click.option("--until-eof", is_flag=True, help="Stop when standard input is closed, too.")
@click.pass_obj
def command(home: Path | None, until_eof: bool) -> None:
    """Renew, publish, check up and tell, until stopped (SIGTERM, Ctrl-C).

    A stop lets the steps under way end; the next start goes on with them. Settings: [service] and
    [notify] of certshelf.toml.
    """
    import asyncio

    from certshelf.manage.manager import open_manager
    from certshelf.manage.service.run import run_service

    async def main() -> None:
        stop = asyncio.Event()
        _stop_at_signals(stop)
        if until_eof:
            _stop_at_eof(stop)
        await run_service(manager, stop, lambda line: output.say(line))

    with open_manager(home) as manager:
        asyncio.run(main())


def _stop_at_signals(stop: asyncio.Event) -> None:
    """SIGTERM and SIGINT (on Windows also SIGBREAK) set stop."""
    import asyncio
    import signal

    loop = asyncio.get_running_loop()
    for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))


def _stop_at_eof(stop: asyncio.Event) -> None:
    """A closed standard input sets stop: how the wrapper on Windows, without signals, says so."""
    import asyncio
    import sys
    import threading

    loop = asyncio.get_running_loop()

    def wait() -> None:
        while sys.stdin.buffer.read(4096):
            pass
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait, name="certshelf-eof", daemon=True).start()

"""`certshelf reader`: the reader process, which has its own small entry point."""

from __future__ import annotations

import click


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> int:
    """Serve the shelf to the web servers of this host (the same as certshelf-reader)."""
    from certshelf.serve.program import main

    return main(list(arguments))

"""`certshelf edge`: needs no manager, so the reader's entry point holds it."""

from __future__ import annotations

import click


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> int:
    """Terminate TLS for every name of the shelf, and pass requests on."""
    from certshelf.serve.program import main

    return main(["edge", *arguments])

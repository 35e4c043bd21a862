"""`certshelf completion`: the script that teaches a shell the commands."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of a shell.

    For bash: certshelf completion bash > ~/.local/share/bash-completion/completions/certshelf
    """
    from click.shell_completion import get_completion_class

    from certshelf.cli.main import root

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101  the choices above are the ones that click knows
    click.echo(kind(root, {}, "certshelf", "_CERTSHELF_COMPLETE").source())

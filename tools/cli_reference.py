"""Write docs/reference/cli.md from the commands themselves: `python tools/cli_reference.py`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "cli.md"
HEAD = """# The command line

Written by `python tools/cli_reference.py` from the commands themselves; a test keeps it true.

Exit status: 0 done, 1 an error or something found wrong, 2 the command was not understood,
130 interrupted. An error is one line `error: what happened, to what` and, where something can be
done, a line `hint: ...`, both on standard error. `--json` prints one JSON document for programs;
`NO_COLOR` is honoured. No secret is ever an argument.
"""


def commands(command: click.Command, context: click.Context) -> Iterator[click.Context]:
    """Every command below one, with the context that its help needs."""
    if not isinstance(command, click.Group):
        yield context
        return
    if command.invoke_without_command:
        yield context
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        if child is not None and not child.hidden:
            yield from commands(child, click.Context(child, parent=context, info_name=name))


def page() -> str:
    """The whole page."""
    from certshelf.cli.main import root

    parts = [HEAD]
    top = click.Context(root, info_name="certshelf", help_option_names=["-h", "--help"])
    for context in commands(root, top):
        context.terminal_width = context.max_content_width = 88
        lines = [line.rstrip() for line in context.get_help().splitlines()]
        parts.append(f"## {context.command_path}\n\n```text\n" + "\n".join(lines) + "\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE.relative_to(Path.cwd())}", file=sys.stderr)

"""`certshelf explain`: the whole story of one name on one screen."""

from __future__ import annotations

from pathlib import Path

import click

from certshelf.cli import output


@click.command()
@click.argument("host")
@output.as_json
@click.pass_obj
def command(home: Path | None, host: str, as_json: bool) -> int:
    """Tell everything about HOST: who listens, which file answers, who serves what and why."""
    from certshelf.doctor.explain import render
    from certshelf.manage.doctor import explain_host
    from certshelf.manage.manager import open_manager
    from certshelf.names import HostName

    name = HostName.parse(host)
    with open_manager(home) as manager:
        story = explain_host(manager, name)
    if as_json:
        output.print_json(story.as_json())
    else:
        output.say(render(story), nl=False)
    return 0 if story.is_well else 1

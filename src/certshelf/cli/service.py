"""`certshelf service`: have the system keep `certshelf run` going."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from certshelf.cli import output


@click.group()
def command() -> None:
    """Have systemd or Windows keep `certshelf run` going."""


@command.command()
@click.option("--user", default="", help="Whom it runs as.  [default: certshelf]")
@click.option("--windows", is_flag=True, help="A PowerShell script for Windows, not a unit.")
@click.option("--write", is_flag=True, help="Write the unit to /etc/systemd/system.")
@click.option("--dry-run", is_flag=True, help="Print it and write nothing, which is the default.")
@click.pass_obj
def install(home: Path | None, user: str, windows: bool, write: bool, dry_run: bool) -> None:
    """Print a hardened systemd unit, or a script that makes a Windows service."""
    from certshelf.manage.home import find_home
    from certshelf.manage.service import unit
    from certshelf.manage.service import windows as service
    from certshelf.manage.settings import load_settings

    if write and (dry_run or windows):
        raise click.UsageError("--write goes alone, and is for the unit")
    found = find_home(home, os.environ)
    if windows or os.name == "nt":
        output.say(service.script(str(found.path), sys.executable, user or service.ACCOUNT))
        return
    settings = load_settings(found.settings)
    drain, folders = settings.service.drain_seconds, unit.writable(settings)
    text = unit.unit(found.path, sys.executable, user or "certshelf", folders, drain)
    if not write:
        output.say(text, nl=False)
        return
    path = unit.write_unit(text)
    output.ok(f"{path} written; next: systemctl daemon-reload && systemctl enable --now certshelf")

"""The command line's root: finds the command, runs it, and turns every error into two lines.

Exit status: 0 done, 1 an error or something found wrong, 2 the command was not understood,
130 interrupted. Commands are imported when they are used, so that each answers at once.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path

import click

from certshelf import __version__
from certshelf.errors import CertshelfError
from certshelf.printable import lines, one_line

_COMMANDS = {
    "init": "init",
    "demo": "demo",
    "shelf": "shelf",
    "cert": "cert",
    "task": "task",
    "issuer": "issuer",
    "credential": "credential",
    "share": "share",
    "group": "group",
    "member": "member",
    "run": "run",
    "service": "service",
    "doctor": "doctor",
    "explain": "explain",
    "iis": "iis",
    "apply": "apply",
    "export": "export",
    "import": "importing",
    "events": "events",
    "simulate": "simulate",
    "backup": "backup",
    "restore": "restore",
    "reader": "reader",
    "configure": "configure",
    "edge": "edge",
    "completion": "completion",
}
"""Command -> the module of this room that holds it, under the same name with `command` for it."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of the table above: the order in which one needs them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command's module; None for a word that is no command."""
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command = importlib.import_module(f"certshelf.cli.{module}").command
        assert isinstance(command, click.Command)  # noqa: S101
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="CERTSHELF_HOME",
    help="Where the manager keeps its settings, keys and records.  [env: CERTSHELF_HOME]",
)
@click.version_option(__version__, prog_name="certshelf")
@click.pass_context
def root(ctx: click.Context, home: Path | None) -> None:
    """Renew once; every web server of the farm serves the new certificate at its next handshake.

    A shelf is one folder, share or bucket of PFX files named by host name, as IIS's Centralized
    Certificate Store reads them. This command fills it, checks it and explains it.
    """
    ctx.obj = home
    if os.environ.get("NO_COLOR"):  # https://no-color.org
        ctx.color = False


def run(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    try:
        status = root.main(args=arguments, prog_name="certshelf", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "certshelf"
        return _fail(error.format_message(), f"{where} --help", status=2)
    except click.ClickException as error:
        return _fail(error.format_message(), "", status=error.exit_code)
    except CertshelfError as error:
        return _fail(str(error), error.hint, status=1)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", "", status=130)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  else the interpreter complains
        return 0
    except OSError as error:  # a file that the command line named: never a traceback for it
        where = f" {error.filename}" if error.filename else ""
        return _fail(f"cannot use{where}: {error.strerror or error}", "", status=1)
    except Exception as error:  # noqa: BLE001  the outer wall: a fault of ours, told in our form
        return _fail_unexpectedly(error)
    return status if isinstance(status, int) else 0


def _fail(what: str, hint: str, *, status: int) -> int:
    click.echo(f"error: {one_line(' '.join(what.split())) or 'failed'}", err=True)
    if hint:
        click.echo(f"hint: {one_line(' '.join(hint.split()))}", err=True)
    return status


def _fail_unexpectedly(error: Exception) -> int:
    """Where it happened and what, never the values of variables: they may be secrets."""
    click.echo(lines("".join(traceback.format_tb(error.__traceback__))), nl=False, err=True)
    hint = "this is a fault of certshelf: please report it with the lines above"
    return _fail(f"unexpected {type(error).__name__}: {error}", hint, status=1)

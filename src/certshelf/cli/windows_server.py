"""The options that say how a Windows server shall stand and how it is reached, as values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from certshelf.cli.secrets import read_secret_file

if TYPE_CHECKING:
    from certshelf.iis.plan import ServerPlan, SiteBinding
    from certshelf.iis.remote import Remote

_FILE = click.Path(path_type=Path, dir_okay=False)

_PLAN = (
    click.option("--store", help=r"The shelf as the server sees it, e.g. \\files\certs."),
    click.option("--reader", required=True, help="The account IIS reads the shelf with."),
    click.option("--bindings", type=_FILE, help="The server's applicationHost.config."),
    click.option(
        "--convert", is_flag=True, help="Move bindings with own certificates to the store."
    ),
    click.option(
        "--bind",
        multiple=True,
        metavar="SITE=HOST[:PORT]",
        help="Add this binding (may be repeated).",
    ),
    click.option(
        "--polling-seconds", default=300, show_default=True, help="How often IIS looks."
    ),
)  # fmt: skip

_REMOTE = (
    click.option("--user", default="", help="Log in there as; default: this account (Kerberos)."),
    click.option("--password-file", type=_FILE, help="The password of --user."),
    click.option("--port", default=5986, show_default=True, help="Of WinRM over HTTPS there."),
    click.option("--ca-file", type=_FILE, help="The CA of WinRM's certificate, if not trusted."),
)


def plan_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that describe a server."""
    return _with(command, _PLAN)


def remote_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of PowerShell Remoting."""
    return _with(command, _REMOTE)


def _with(command: Callable[..., Any], options: tuple[Any, ...]) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command


def planned(home: Path | None, server: str, given: Mapping[str, Any]) -> ServerPlan:
    """How SERVER shall stand, by plan_options, the home and its bindings file."""
    from certshelf.iis.plan import plan
    from certshelf.manage.iis import planning_facts

    facts = planning_facts(home, server, given["bindings"])
    return plan(
        server,
        given["store"] or facts.store,
        given["reader"],
        found=facts.bindings if given["convert"] else (),
        wanted=[_wanted(text) for text in given["bind"]],
        on_shelf=facts.on_shelf,
        polling_seconds=given["polling_seconds"],
    )


def _wanted(text: str) -> SiteBinding:
    from certshelf.iis.plan import SiteBinding
    from certshelf.names import HostName

    site, equals, rest = text.rpartition("=")
    host, _, port = rest.partition(":")
    if not equals or not site or (port and not port.isdigit()):
        raise click.UsageError(f"--bind is SITE=HOST[:PORT], not {text!r}")
    return SiteBinding(site, HostName.parse(host), int(port or 443))


def remote(server: str, given: Mapping[str, Any]) -> Remote:
    """Where SERVER is reached and as whom, by remote_options."""
    from certshelf.iis.remote import Remote

    file = given["password_file"]
    return Remote(
        server,
        given["user"],
        read_secret_file(file) if file else None,
        given["port"],
        ca_file=str(given["ca_file"] or ""),
    )

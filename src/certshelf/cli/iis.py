"""`certshelf iis`: scripts that set Windows servers up, and what those servers say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from certshelf.cli import output
from certshelf.cli.secrets import read_secret_file
from certshelf.cli.windows_server import plan_options, planned, remote, remote_options

if TYPE_CHECKING:
    from certshelf.iis.plan import ServerPlan
    from certshelf.iis.remote import Remote

_KINDS = ["iis", "nginx", "haproxy", "caddy", "apache", "envoy", "traefik", "python"]
_MAX_ANSWER = 16 * 2**20
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def command() -> None:
    """Set IIS servers up to read the shelf, and read back how they stand."""


@command.command()
@click.argument("servers", nargs=-1, metavar="[SERVER]...")
@plan_options
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Write the scripts there."
)
@click.pass_obj
def plan(home: Path | None, /, servers: tuple[str, ...], out: Path | None, **given: Any) -> None:
    """Print the PowerShell script that sets SERVER up; with --out also those that undo and check.

    It can be run again, knows -WhatIf, asks for secrets and holds none. Without SERVER: for every
    IIS that is declared (certshelf member add --kind iis). Never met a Windows machine yet: read
    it, and start with -WhatIf.
    """
    from certshelf.iis.scripts import setup_script
    from certshelf.manage.iis import iis_servers

    named = servers or tuple(iis_servers(home))
    if not named:
        raise click.UsageError("name a SERVER: no IIS is declared")
    if len(named) > 1 and (out is None or given["bindings"] or given["bind"]):
        raise click.UsageError("several servers want --out; --bindings and --bind are of one")
    for server in named:
        made = planned(home, server, given)
        if out is None:
            output.say(setup_script(made), nl=False)
        else:
            _write_scripts(made, out)


def _write_scripts(made: ServerPlan, out: Path) -> None:
    from certshelf.iis.check_script import check_script
    from certshelf.iis.scripts import setup_script, undo_script

    server = made.server
    scripts = {
        "setup": setup_script(made),
        "undo": undo_script(made),
        "check": check_script(server),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, text in scripts.items():
        file = out / f"{_file_name(server)}-{name}.ps1"
        file.write_text(text, encoding="ascii", newline="\r\n")
        output.ok(str(file))
    for left in made.left:
        output.say(f"   left alone: {left.binding.site} {left.binding.host}: {left.why}", err=True)


@command.command()
@click.argument("server")
@plan_options
@remote_options
@click.option("--reader-password-file", type=_FILE, help="The password of --reader.")
@click.option("--what-if", is_flag=True, help="Show the steps, change nothing.")
@click.pass_obj
def apply(
    home: Path | None,
    /,
    server: str,
    reader_password_file: Path | None,
    what_if: bool,
    **given: Any,
) -> None:
    """Run the plan of SERVER there through PowerShell Remoting (HTTPS).

    Never met a Windows machine yet: the supported way is `certshelf iis plan`.
    """
    from certshelf.errors import CredentialError
    from certshelf.iis.remote import Argument, Credential
    from certshelf.iis.scripts import setup_script
    from certshelf.manage.iis import apply_recorded, shelf_for
    from certshelf.manage.manager import open_manager

    made = planned(home, server, given)
    arguments: dict[str, Argument] = {"WhatIf": True} if what_if else {}
    if not what_if:
        if reader_password_file is None:
            raise click.UsageError("--reader-password-file is needed: nobody can be asked there")
        password = read_secret_file(reader_password_file)
        arguments["ShareCredential"] = Credential(given["reader"], password)
    with open_manager(home) as manager:
        pfx_password = shelf_for(manager, server).passwords[0]
        if not what_if:
            if pfx_password is None:
                raise CredentialError("the shelf has no PFX password, and IIS wants one")
            arguments["PfxPassword"] = pfx_password
        apply_recorded(manager, remote(server, given), setup_script(made), arguments, _say)
    output.ok(f"{server} done" if not what_if else f"{server}: nothing was changed")


@command.command()
@click.argument("server")
@click.option("--from", "source", type=click.File("rb"), help="What its check script wrote.")
@remote_options
@click.option("--store", default="", help="The shelf as the server should see it.")
@click.option("--reader", default="", help="The account that IIS should read it with.")
@output.as_json
def status(
    server: str, source: BinaryIO | None, store: str, reader: str, as_json: bool, **given: Any
) -> int:
    """Read back how SERVER stands: feature, registry, http.sys, bindings, files.

    Through PowerShell Remoting, or with --from FILE from what its check script wrote.
    """
    from certshelf.doctor.report import exit_status
    from certshelf.iis.status import findings, parse

    text = read_answer(source) if source else _ask(remote(server, given))
    seen = parse(text)
    found = findings(seen, store=store, reader=reader)
    if as_json:
        output.print_json([finding.as_json() for finding in found])
        return exit_status(found)
    provider = "on" if seen.enabled else "off"
    output.say(f"{seen.server}  Windows build {seen.build}  central store {provider}")
    output.say(
        f"location {seen.location or '-'}  as {seen.user or '-'}  every {seen.polling_seconds} s"
    )
    output.say(f"central ports {', '.join(map(str, seen.central_ports)) or '-'}")
    for finding in found:
        output.print_finding(finding)
    return exit_status(found)


@command.command("check-script")
@click.argument("server", required=False, default="")
def check_script_(server: str) -> None:
    """Print a read-only PowerShell script that tells how a server stands."""
    from certshelf.iis.check_script import check_script

    output.say(check_script(server), nl=False)


@command.command("bindings")
@click.argument("file", type=_FILE)
@click.option(
    "--kind",
    type=click.Choice(_KINDS),
    help="Whose configuration it is; default: told from the file.",
)
@output.as_json
def bindings_(file: Path, kind: str | None, as_json: bool) -> None:
    """List the TLS bindings in FILE: an applicationHost.config, or another server's."""
    from dataclasses import asdict

    from certshelf.farm import Kind
    from certshelf.manage.bindings import read_bindings

    reading = read_bindings(file, Kind(kind) if kind else None)
    if as_json:
        output.print_json([asdict(binding) for binding in reading.bindings])
    else:
        output.print_table(
            ("SITE", "HOST", "ADDRESS", "PORT", "FLAGS", "CERTIFICATE"),
            [
                (b.site, b.host or "(any)", b.address, b.port, b.flags, b.certificate or "(shelf)")
                for b in reading.bindings
            ],
        )
    for note in reading.notes:
        output.say(f"   not read: {note}", err=True)


def _ask(where: Remote) -> str:
    from certshelf.iis.apply import apply as run
    from certshelf.iis.check_script import check_script

    return "\n".join(run(where, check_script(where.host), {}, lambda stream, line: None))


def read_answer(source: BinaryIO) -> str:
    """What the check script wrote: Windows PowerShell writes UTF-16 by `>`, else UTF-8."""
    data: bytes = source.read(_MAX_ANSWER + 1)
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return data.decode(encoding, "replace")


def _say(stream: str, line: str) -> None:
    output.say(line if stream == "output" else f"{stream}: {line}", err=True)


def _file_name(server: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "_" for c in server).strip(".") or "server"

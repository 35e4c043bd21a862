"""`certshelf issuer`: who signs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from certshelf.cli import output


@click.group()
def command() -> None:
    """Say who signs: the built-in local CA, or a CA that speaks ACME."""


@command.command("ls")
@output.as_json
@click.pass_obj
def list_issuers(home: Path | None, as_json: bool) -> None:
    """List the issuers."""
    from certshelf.manage.issuers import all_issuers
    from certshelf.manage.manager import open_manager

    with open_manager(home) as manager, manager.database.read() as records:
        found = all_issuers(records)
    if as_json:
        output.print_json([{"name": one.name, "kind": one.kind.value} for one in found])
    else:
        output.print_table(("NAME", "KIND"), [(one.name, one.kind.value) for one in found])


@command.command()
@click.argument("name", default="local")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it here instead of to standard output.",
)
@click.pass_obj
def root(home: Path | None, name: str, out: Path | None) -> None:
    """Print the root certificate of the local CA NAME, for clients to trust."""
    from certshelf.manage.issuers import root_pem
    from certshelf.manage.manager import open_manager

    with open_manager(home) as manager:
        pem = root_pem(manager, name)
    if out is None:
        click.echo(pem.decode(), nl=False)
        return
    out.write_bytes(pem)
    output.ok(f"root of {name} -> {out}")


@command.command("add-local")
@click.argument("name")
@click.option("--permit", multiple=True, help="A domain that its leaves may name; repeatable.")
@click.option("--lifetime-days", type=click.FloatRange(min=0.01), help="Of leaves.  [default: 7]")
@click.pass_obj
def add_local(
    home: Path | None, name: str, permit: tuple[str, ...], lifetime_days: float | None
) -> None:
    """Make a further local CA, if wanted for certain domains only."""
    from certshelf.manage.issuers import add_local_ca
    from certshelf.manage.manager import open_manager

    with open_manager(home) as manager, manager.database.write() as records:
        add_local_ca(
            records, name, manager.clock, permitted_names=permit, lifetime_days=lifetime_days
        )
    output.ok(f"issuer {name} added: certshelf issuer root {name} prints its root")


@command.command()
@click.argument("name")
@click.option(
    "--acme",
    "directory",
    required=True,
    help="Directory URL, or letsencrypt, letsencrypt-staging, zerossl, google, actalis.",
)
@click.option("--ca-file", type=click.Path(path_type=Path, dir_okay=False), help="PEM roots.")
@click.option("--email", default="", help="Where the CA may write to.")
@click.option("--eab-kid", help="Key id of an external account binding.")
@click.option(
    "--eab-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Its MAC key (base64url); `-` reads standard input.",
)
@click.option("--profile", default="", help="The CA's certificate profile.")
@click.option("--preferred-chain", default="", help="Common name that the chain shall end in.")
@click.option("--fallback", multiple=True, help="Who signs when this one cannot; repeatable.")
@click.option("--poll-interval", type=click.FloatRange(min=0.1), help="Seconds between looks.")
@click.pass_obj
def add(
    home: Path | None,
    /,
    name: str,
    eab_kid: str | None,
    eab_key_file: Path | None,
    fallback: tuple[str, ...],
    **wish: Any,
) -> None:
    """Add a CA that speaks ACME; `issuer test NAME` makes the account there."""
    from certshelf.cli.secrets import read_secret
    from certshelf.manage.issuers import AcmeWish, add_acme
    from certshelf.manage.manager import open_manager

    if (eab_kid is None) != (eab_key_file is None):
        raise click.UsageError("--eab-kid and --eab-key-file belong together")
    eab = None
    if eab_kid is not None:
        stdin = str(eab_key_file) == "-"
        eab = eab_kid, read_secret(None if stdin else eab_key_file, stdin, "EAB key")
    with open_manager(home) as manager, manager.database.write() as records:
        add_acme(records, name, AcmeWish(**wish, eab=eab, fallbacks=fallback), manager.clock)
    output.ok(f"issuer {name} added: certshelf issuer test {name} asks it for an account")

"""`certshelf configure`: needs no manager, so the reader's entry point holds it."""

from __future__ import annotations

from pathlib import Path

import click

from certshelf.cli import output

_SERVERS = ("nginx", "haproxy", "caddy", "apache", "envoy", "iis")


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(context: click.Context, arguments: tuple[str, ...]) -> int:
    """Print what makes a web server take its certificates from the reader, or (`http-01 --server
    KIND --issuer NAME`) answer the challenges of an ACME issuer by itself.
    """
    if arguments and arguments[0] == "http-01":
        return (
            http01.main(
                list(arguments[1:]),
                prog_name="certshelf configure http-01",
                standalone_mode=False,
                obj=context.obj,
            )
            or 0
        )
    from certshelf.serve.program import main

    return main(["configure", *arguments])


@click.command()
@click.option("--server", "kind", required=True, type=click.Choice(_SERVERS), help="Its kind.")
@click.option("--issuer", required=True, help="Whose account's challenges are answered.")
@click.pass_obj
def http01(home: Path | None, kind: str, issuer: str) -> None:
    """Print the stateless rule by which a server answers http-01 for an issuer's account."""
    from certshelf.farm import Kind
    from certshelf.issue.solve.snippets import http01_rule
    from certshelf.manage.issuers import account_thumbprint
    from certshelf.manage.manager import open_manager

    with open_manager(home) as manager, manager.database.read() as records:
        thumbprint = account_thumbprint(records, issuer)
    output.say(http01_rule(Kind(kind), thumbprint), nl=False)

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
        output.say(pem.decode(), nl=False)
        return
    out.write_bytes(pem)
    output.ok(f"root of {name} -> {out}")


@command.command("add-local")
@click.argument("name")
@click.option("--permit", multiple=True, help="A domain that its leaves may name; repeatable.")
@click.option("--lifetime-days", type=click.FloatRange(min=0.01), help="Of leaves.  [default: 7]")
@output.as_json
@click.pass_obj
def add_local(
    home: Path | None,
    name: str,
    permit: tuple[str, ...],
    lifetime_days: float | None,
    as_json: bool,
) -> None:
    """Make a further local CA, if wanted for certain domains only."""
    from certshelf.manage.issuers import add_local_ca, issuer_json
    from certshelf.manage.manager import open_manager

    with open_manager(home) as manager, manager.database.write() as records:
        add_local_ca(
            records, name, manager.clock, permitted_names=permit, lifetime_days=lifetime_days
        )
        shown = issuer_json(records, name)
    if as_json:
        output.print_json(shown)
        return
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
@click.option("--timeout", type=click.FloatRange(min=1), help="Seconds for a request.  [30]")
@click.option(
    "--requests-per-second", type=click.FloatRange(min=0), help="From here; 0: no limit.  [200]"
)
@output.as_json
@click.pass_obj
def add(
    home: Path | None,
    /,
    name: str,
    eab_kid: str | None,
    eab_key_file: Path | None,
    fallback: tuple[str, ...],
    as_json: bool,
    **wish: Any,
) -> None:
    """Add a CA that speaks ACME; `issuer test NAME` makes the account there."""
    from certshelf.cli.secrets import read_secret
    from certshelf.manage.issuers import AcmeWish, add_acme, issuer_json
    from certshelf.manage.manager import open_manager

    if (eab_kid is None) != (eab_key_file is None):
        raise click.UsageError("--eab-kid and --eab-key-file belong together")
    eab = None
    if eab_kid is not None:
        stdin = str(eab_key_file) == "-"
        eab = eab_kid, read_secret(None if stdin else eab_key_file, stdin, "EAB key")
    with open_manager(home) as manager, manager.database.write() as records:
        add_acme(records, name, AcmeWish(**wish, eab=eab, fallbacks=fallback), manager.clock)
        shown = issuer_json(records, name)
    if as_json:
        output.print_json(shown)
        return
    output.ok(f"issuer {name} added: certshelf issuer test {name} asks it for an account")


@command.command()
@click.argument("name")
@output.as_json
@click.pass_obj
def show(home: Path | None, name: str, as_json: bool) -> None:
    """Show an issuer, our account there and its thumbprint."""
    from certshelf.manage.issuers import issuer_json
    from certshelf.manage.manager import open_manager

    with open_manager(home) as manager, manager.database.read() as records:
        shown = issuer_json(records, name)
    if as_json:
        output.print_json(shown)
        return
    for key, value in shown.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        output.say(f"{key:<18} {text if text not in (None, '') else '-'}")


@command.command()
@click.argument("name")
@output.as_json
@click.pass_obj
def test(home: Path | None, name: str, as_json: bool) -> None:
    """Ask the CA NAME who it is, and have our account there; no order is made."""
    import asyncio

    from certshelf.manage.manager import open_manager
    from certshelf.manage.trial import ask_issuer

    with open_manager(home) as manager:
        answer = asyncio.run(ask_issuer(manager, name))
    shown = {
        "name": name,
        "ok": True,
        "account": answer.account_url,
        "thumbprint": answer.thumbprint,
        "terms": answer.directory.terms or None,
        "profiles": sorted(answer.directory.profiles),
        "ari": bool(answer.directory.renewal_info),
        "caa": list(answer.directory.caa_identities),
        "clock_skew_s": round(answer.clock_skew_s),
    }
    if as_json:
        output.print_json(shown)
        return
    output.ok(f"{name} answers; our account is {answer.account_url}")
    profiles = ", ".join(sorted(answer.directory.profiles)) or "none"
    ari = "yes" if answer.directory.renewal_info else "no"
    output.say(f"   profiles: {profiles}; renewal windows (ARI): {ari}")


@command.command("rm")
@click.argument("name")
@output.as_json
@click.pass_obj
def remove(home: Path | None, name: str, as_json: bool) -> None:
    """Forget the issuer NAME and the key of our account there."""
    from certshelf.manage.issuers import remove_issuer
    from certshelf.manage.manager import open_manager

    with open_manager(home) as manager, manager.database.write() as records:
        remove_issuer(records, name, manager.clock)
    if as_json:
        output.print_json({"name": name, "removed": True})
    else:
        output.ok(f"issuer {name} removed")


@command.command("rollover-key")
@click.argument("name")
@click.option("--like", default="", help="The key of our account at this issuer, no new one.")
@output.as_json
@click.pass_obj
def rollover_key(home: Path | None, name: str, like: str, as_json: bool) -> None:
    """Give our account at NAME a new key; challenge rules must be written again.

    With --like both accounts have one key, so that one rule of farm mode answers for both.
    """
    import asyncio

    from certshelf.manage.manager import open_manager
    from certshelf.manage.trial import change_account_key

    with open_manager(home) as manager:
        thumbprint = asyncio.run(change_account_key(manager, name, like))
    if as_json:
        output.print_json({"name": name, "thumbprint": thumbprint})
        return
    what = f"the key of the account at {like}" if like else "a new key"
    output.ok(f"the account at {name} has {what}: its thumbprint is {thumbprint}")
    if not like:
        output.say("   members in farm mode need the rule again: certshelf configure http-01")


@command.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output.as_json
@click.pass_obj
def deactivate(home: Path | None, name: str, yes: bool, as_json: bool) -> None:
    """Close our account at NAME for good; its certificates stay valid."""
    import asyncio

    from certshelf.manage.manager import open_manager
    from certshelf.manage.trial import close_account

    if not yes:
        click.confirm(f"Close the account at {name} for good?", abort=True)
    with open_manager(home) as manager:
        asyncio.run(close_account(manager, name))
    if as_json:
        output.print_json({"name": name, "status": "deactivated"})
    else:
        output.ok(f"the account at {name} is closed")

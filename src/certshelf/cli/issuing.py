"""`certshelf cert request`, `revoke` and `test`: the commands that talk to a CA."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from certshelf.cli import output

if TYPE_CHECKING:
    from certshelf.manage.pipeline import Run

_REASONS = (
    "unspecified",
    "keyCompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
)


@click.command()
@click.argument("names", nargs=-1)
@click.option("--due", is_flag=True, help="All that are to be renewed now.")
@click.option("--all", "everything", is_flag=True, help="All, due or not.")
@click.option("--force", is_flag=True, help="Even when it is not due yet.")
@click.option("--adopt", is_flag=True, help="Overwrite files that certshelf did not write.")
@output.as_json
@click.pass_obj
def request(
    home: Path | None,
    names: tuple[str, ...],
    due: bool,
    everything: bool,
    force: bool,
    adopt: bool,
    as_json: bool,
) -> int:
    """Issue NAMES now and publish them; a no-op for those not due (alias: renew)."""
    if sum((bool(names), due, everything)) != 1 or (due and (force or adopt)):
        raise click.UsageError("give NAMES, or --all, or --due alone")
    if len(names) == 1:
        return _request_one(home, names[0], force, adopt, as_json)
    return _request_many(home, names, due, force, adopt, as_json)


def _request_one(home: Path | None, name: str, force: bool, adopt: bool, as_json: bool) -> int:
    import asyncio

    from certshelf.cli.shelf import print_result
    from certshelf.manage.manager import open_manager
    from certshelf.manage.pipeline import request_certificate

    def say(text: str) -> None:
        if not as_json:
            output.say(f"   {text}", err=True)

    with open_manager(home) as manager:
        run = asyncio.run(
            request_certificate(manager, name, force=force, adopt=adopt, progress=say)
        )
    if as_json:
        output.print_json(_run_json(name, run))
        return 0 if run.ok else 1
    for result in run.results:
        print_result(result)
    if run.error:
        raise run.error
    output.ok(f"{name} {run.outcome}")
    if run.outcome == "not due":
        output.say("   --force requests a new one all the same", err=True)
    return 0


def _request_many(
    home: Path | None, names: tuple[str, ...], due: bool, force: bool, adopt: bool, as_json: bool
) -> int:
    import asyncio

    from certshelf.manage.manager import open_manager
    from certshelf.manage.pipeline import request_many
    from certshelf.manage.runner import request_due

    runs: list[dict[str, object]] = []
    bad = 0
    with open_manager(home) as manager:
        with manager.database.read() as records:
            wanted = names or tuple(one.name for one in records.certificates.all())
        total = None if due else len(wanted)

        def done(name: str, run: Run) -> None:
            nonlocal bad
            bad += not run.ok
            step()
            if as_json:
                runs.append(_run_json(name, run))
            elif run.error:
                output.bad(name, run.error)
            else:
                output.ok(f"{name} {run.outcome}")

        with output.progress("certificates", total) as step:
            if due:
                asyncio.run(request_due(manager, done))
            else:
                asyncio.run(request_many(manager, wanted, done, force=force, adopt=adopt))
    if as_json:
        output.print_json(runs)
    return 1 if bad else 0


def _run_json(name: str, run: Run) -> dict[str, object]:
    from certshelf.cli.shelf import result_json

    return {
        "name": name,
        "ok": run.ok,
        "outcome": run.outcome,
        "serial": run.bundle.serial if run.bundle else None,
        "thumbprint": run.bundle.thumbprint if run.bundle else None,
        "error": str(run.error) if run.error else None,
        "files": [result_json(result) for result in run.results],
    }


@click.command()
@click.argument("name")
@click.option(
    "--reason", type=click.Choice(_REASONS), default="unspecified", help="What the CA is told."
)
@click.option("--by-key", is_flag=True, help="Sign with its own key: no account is needed.")
@output.as_json
@click.pass_obj
def revoke(home: Path | None, name: str, reason: str, by_key: bool, as_json: bool) -> None:
    """Have the certificate of NAME revoked by its CA; its files stay on the shelf."""
    import asyncio

    from certshelf.manage.manager import open_manager
    from certshelf.manage.revoking import revoke_certificate

    with open_manager(home) as manager:
        serial = asyncio.run(revoke_certificate(manager, name, reason, by_key=by_key))
    if as_json:
        output.print_json({"name": name, "serial": serial, "reason": reason})
        return
    output.ok(f"{name} revoked ({serial}): certshelf cert request {name} issues a new one")


@click.command()
@click.argument("name")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it here instead of to standard output.",
)
@click.pass_obj
def chain(home: Path | None, name: str, out: Path | None) -> None:
    """Print the newest certificate of NAME with its chain, in PEM, without a key."""
    from certshelf.bundle.model import LeafChain
    from certshelf.manage.manager import open_manager
    from certshelf.manage.publishing import issued_bundle

    with open_manager(home) as manager, manager.database.read() as records:
        found = issued_bundle(records, records.certificates.get(name))
    text = LeafChain(found.leaf, found.chain).to_pem()
    if out is None:
        output.say(text.decode(), nl=False)
        return
    out.write_bytes(text)
    output.ok(f"certificate of {name} -> {out}")


@click.command()
@click.argument("name")
@output.as_json
@click.pass_obj
def test(home: Path | None, name: str, as_json: bool) -> int:
    """Try what the CA will try for NAME, without an order."""
    import asyncio

    from certshelf.manage.manager import open_manager
    from certshelf.manage.trial import try_certificate

    with open_manager(home) as manager:
        findings = asyncio.run(try_certificate(manager, name))
    if as_json:
        output.print_json([finding.as_json() for finding in findings])
    else:
        for finding in findings:
            output.print_finding(finding)
    return 1 if any(finding.severity.value == "error" for finding in findings) else 0

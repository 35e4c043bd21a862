"""`certshelf cert edit`, `rebuild` and `import`: change a wish, or what is published for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from certshelf.cli import output
from certshelf.cli.challenges import challenge_options, chosen_challenges, with_choices
from certshelf.cli.secrets import password_file
from certshelf.cli.wishing import as_wished, csr_option, wish_options

_WRITERS = ("deploy-to-shelf", "export")
"""Types of tasks that write files under a password."""


@click.command()
@click.argument("name")
@click.option("--host", "hosts", multiple=True, help="All its hosts; repeatable.")
@click.option("--add-host", "more", multiple=True, help="One more host; repeatable.")
@click.option("--remove-host", "fewer", multiple=True, help="A host to leave out; repeatable.")
@csr_option
@wish_options
@challenge_options
@click.option("--dry-run", is_flag=True, help="Show the changes, make none.")
@click.pass_obj
def edit(
    home: Path | None,
    /,
    name: str,
    hosts: tuple[str, ...],
    more: tuple[str, ...],
    fewer: tuple[str, ...],
    csr: Path | None,
    dry_run: bool,
    **given: Any,
) -> None:
    """Change what NAME shall be; what is not given stays. Takes effect at the next request."""
    from dataclasses import replace

    from certshelf.manage.changes import Action, apply_changes, plan_changes
    from certshelf.manage.foreign import read_csr_file, with_csr
    from certshelf.manage.manager import open_manager
    from certshelf.manage.wish import sorted_out

    if csr and (hosts or more or fewer):
        raise click.UsageError("a CSR says itself which hosts: no --host beside it")
    with open_manager(home) as manager:
        with manager.database.read() as records:
            was = records.certificates.get(name)
        names, addresses = sorted_out([*(hosts or was.names), *more])
        left_out, gone = sorted_out(fewer)
        names = tuple(name for name in names if name not in left_out)
        addresses = tuple(address for address in addresses if address not in gone)
        if not names and not addresses:
            raise click.UsageError("a certificate has at least one host")
        wish = replace(as_wished(was, given), hosts=names, addresses=addresses)
        if csr:
            wish = with_csr(wish, read_csr_file(csr))
        wish = replace(wish, challenges=with_choices(was.challenges, chosen_challenges(given)))
        (change,) = plan_changes([wish], [was], prune=False)
        apply_changes(manager, [change], dry_run=dry_run)
    for field, before, after in change.fields:
        output.say(f"   {field}: {before} -> {after}")
    done = "would change; nothing was changed" if dry_run else "changed"
    output.ok(f"{name} {'is like that already' if change.action is Action.SAME else done}")


@click.command()
@click.argument("name")
@click.option("--adopt", is_flag=True, help="Overwrite files that certshelf did not write.")
@click.pass_obj
def rebuild(home: Path | None, name: str, adopt: bool) -> None:
    """Publish what was issued last for NAME again, under today's password and PFX profile.

    No order: the certificate stays the same.
    """
    from certshelf.cli.shelf import print_result
    from certshelf.manage.manager import open_manager
    from certshelf.manage.publishing import failure, publish_certificate, publishable_bundle

    with open_manager(home) as manager:
        with manager.database.read() as records:
            certificate = records.certificates.get(name)
            bundle = publishable_bundle(records, certificate)
            tasks = [t.name for t in records.tasks.of(certificate.id) if t.kind in _WRITERS]
        results = publish_certificate(manager, certificate, bundle, adopt=adopt)
    for result in results:
        print_result(result)
    if error := failure(results):
        raise error
    output.ok(f"{name} rebuilt: {len(results)} files")
    for task in tasks:
        output.say(f"   not run: certshelf task run {name} {task} does the same there", err=True)


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", help="A short name for it; default: the first host's.")
@password_file
@wish_options
@click.pass_obj
def import_(
    home: Path | None, /, file: Path, name: str | None, password_file: Path | None, **given: Any
) -> None:
    """Take over the certificate and key in FILE (PFX or PEM), as a new one or the next of NAME.

    It is not renewed by itself unless --auto-renew says so.
    """
    from certshelf.cli.secrets import read_secret_file
    from certshelf.manage.importing.one import import_bundle, read_bundle
    from certshelf.manage.manager import open_manager
    from certshelf.manage.model import ManagedCertificate, Mode, record_name

    secret = read_secret_file(password_file) if password_file else None
    bundle = read_bundle(file, secret)
    with open_manager(home) as manager:
        defaults = manager.settings.certificates
        wish = ManagedCertificate(
            name=name or record_name(bundle.names[0].ascii),
            hosts=bundle.names,
            issuer=defaults.issuer,
            key_type=bundle.key_type,
            mode=Mode(defaults.mode),
            auto_renew=False,
        )
        taken = import_bundle(manager, as_wished(wish, given), bundle)
    output.ok(f"{taken.name} imported: certshelf cert rebuild {taken.name} publishes it")

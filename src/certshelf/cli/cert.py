"""`certshelf cert`: the managed certificates, what to keep issued."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from certshelf.cli import output
from certshelf.cli.challenges import challenge_options, chosen_challenges, with_choices
from certshelf.cli.editing import edit, import_, rebuild
from certshelf.cli.issuing import chain, request, revoke, test
from certshelf.cli.preview import preview
from certshelf.cli.wishing import as_wished, csr_option, wish_options

if TYPE_CHECKING:
    from datetime import datetime

    from certshelf.manage.model import ManagedCertificate
    from certshelf.names import HostName


_STATES = ["new", "valid", "failed", "paused", "revoked", "expired"]


@click.group()
def command() -> None:
    """Say what to keep issued, request it, and see how it stands."""


@command.command()
@click.argument("hosts", nargs=-1)
@click.option("--name", help="A short name for it; default: the first host's.")
@click.option(
    "--from-bindings",
    "bindings",
    type=click.Path(path_type=Path, dir_okay=False),
    help="One certificate for each site in this server configuration.",
)
@csr_option
@wish_options
@challenge_options
@click.pass_obj
def add(
    home: Path | None,
    /,
    hosts: tuple[str, ...],
    name: str | None,
    bindings: Path | None,
    csr: Path | None,
    **given: Any,
) -> None:
    """Add a managed certificate for HOSTS (wildcards, Unicode names and IP addresses too)."""
    from dataclasses import replace

    from certshelf.manage.certificates import add_certificate
    from certshelf.manage.foreign import read_csr_file, with_csr
    from certshelf.manage.manager import open_manager
    from certshelf.manage.model import ManagedCertificate, Mode, record_name
    from certshelf.manage.wish import sorted_out

    if sum(map(bool, (hosts, bindings, csr))) != 1 or (bindings and name):
        raise click.UsageError("give HOSTS or --csr FILE, with a --name, or --from-bindings FILE")
    wanted = _hosts_of_sites(bindings) if bindings else [sorted_out(hosts)]
    challenges = with_choices((), chosen_challenges(given))
    with open_manager(home) as manager:
        defaults = manager.settings.certificates
        for names, addresses in wanted:
            wish = ManagedCertificate(
                name=name or "",
                hosts=names,
                addresses=addresses,
                issuer=defaults.issuer,
                key_type=defaults.key,
                mode=Mode(defaults.mode),
                challenges=challenges,
            )
            wish = as_wished(wish, given)
            if csr:
                wish = with_csr(wish, read_csr_file(csr))
            wish = replace(wish, name=wish.name or record_name(wish.names[0]))
            added = add_certificate(manager, wish)
            output.ok(f"{added.name} added: certshelf cert request {added.name} issues it")
            if added.csr:
                output.say("   its key is not ours: no shelf; cert chain prints what is issued")
            elif addresses:
                output.say("   an address has no file on the shelf: certshelf task add ... export")


def _hosts_of_sites(file: Path) -> list[tuple[tuple[HostName, ...], tuple[str, ...]]]:
    from certshelf.errors import ConfigError
    from certshelf.manage.bindings import hosts_by_site, read_bindings

    found = hosts_by_site(read_bindings(file))
    if not found:
        raise ConfigError(f"{file} has no TLS binding with a host name")
    return [(tuple(dict.fromkeys(hosts)), ()) for hosts in found.values()]


@command.command("ls")
@click.option("--tag", default="", help="Those with this tag.")
@click.option("--state", type=click.Choice(_STATES), help="Those in this state.")
@click.option("--expires-within", type=float, metavar="DAYS", help="Those that end by then.")
@output.as_json
@click.pass_obj
def list_certificates(
    home: Path | None, tag: str, state: str | None, expires_within: float | None, as_json: bool
) -> None:
    """List the managed certificates."""
    from datetime import timedelta

    from certshelf.manage.manager import open_manager

    with open_manager(home) as manager:
        now = manager.clock.now()
        until = None if expires_within is None else now + timedelta(days=expires_within)
        with manager.database.read() as records:
            found = records.certificates.rows(now, state=state or "", expires_before=until, tag=tag)
    if as_json:
        output.print_json_rows(found)
        return
    output.print_table(
        ("NAME", "HOSTS", "STATE", "UNTIL", "ISSUER", "LAST ERROR"), map(_row, found)
    )


@command.command()
@click.argument("name")
@output.as_json
@click.pass_obj
def show(home: Path | None, name: str, as_json: bool) -> None:
    """Show one managed certificate and how it stands."""
    from certshelf.manage import wish
    from certshelf.manage.manager import open_manager
    from certshelf.manage.tasks import stale_files

    with open_manager(home) as manager:
        with manager.database.read() as records:
            found = records.certificates.get(name)
            old = stale_files(records, found.id)
            tasks = [task.name for task in records.tasks.of(found.id)]
        now = manager.clock.now()
    shown = certificate_json(found, now) | {"tasks": tasks}
    shown["still_old"] = [f"{text} (task {task.name})" for task, run in old for text in run.stale]
    if as_json:
        output.print_json(shown)
        return
    shown["challenges"] = found.challenges
    for key, value in shown.items():
        output.say(f"{key:<20} {wish.show(value)}")


command.add_command(chain)
command.add_command(edit)
command.add_command(preview)
command.add_command(rebuild)
command.add_command(import_)
command.add_command(request)
command.add_command(request, "renew")
command.add_command(revoke)
command.add_command(test)


@command.command("rm")
@click.argument("name")
@click.pass_obj
def remove(home: Path | None, name: str) -> None:
    """Forget NAME; its files stay on the shelf (shelf retire removes them)."""
    from certshelf.manage.certificates import remove_certificate
    from certshelf.manage.manager import open_manager

    with open_manager(home) as manager:
        remove_certificate(manager, name)
    output.ok(f"{name} removed; its files stay on the shelf: certshelf shelf retire HOST")


def certificate_json(one: ManagedCertificate, now: datetime) -> dict[str, object]:
    """One managed certificate for programs."""
    from certshelf.clock import iso
    from certshelf.manage.wish import plain

    def moment(at: datetime | None) -> str | None:
        return iso(at) if at else None

    status = one.status
    return {
        "name": one.name,
        "hosts": list(one.names),
        "issuer": one.issuer,
        "fallbacks": list(one.fallbacks),
        "profile": one.profile or None,
        "preferred_chain": one.preferred_chain or None,
        "challenges": plain(one.challenges),
        "key": one.key_type,
        "reuse_key": one.reuse_key,
        "mode": one.mode.value,
        "auto_renew": one.auto_renew,
        "tags": list(one.tags),
        "groups": list(one.groups),
        "password_credential": one.password_credential or None,
        "comment": one.comment or None,
        "csr": one.csr or None,
        "state": _state(one, now),
        "serial": status.serial or None,
        "thumbprint": status.thumbprint or None,
        "not_before": moment(status.not_before),
        "not_after": moment(status.not_after),
        "renew_at": moment(status.renew_at),
        "failures": status.failures,
        "retry_at": moment(status.retry_at),
        "last_error": status.last_error or None,
        "last_run_at": moment(status.last_run_at),
    }


def _state(one: ManagedCertificate, now: datetime) -> str:
    if one.status.not_after and one.status.not_after <= now:
        return "expired"
    return one.status.state.value


def _row(one: Mapping[str, Any]) -> tuple[object, ...]:
    from certshelf.names import HostName

    hosts = one["hosts"]
    first = hosts[0] if "xn--" not in hosts[0] else HostName.parse(hosts[0]).unicode
    more = f" +{len(hosts) - 1}" if len(hosts) > 1 else ""
    until = one["not_after"] or "-"
    return one["name"], first + more, one["state"], until, one["issuer"], one["last_error"] or "-"

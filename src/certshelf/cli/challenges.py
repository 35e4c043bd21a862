"""The options that say how a certificate's names are proved, and what they mean as a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from certshelf.manage.model import ChallengeChoice

_TYPES = ["http-01", "dns-01", "tls-alpn-01", "dns-persist-01"]
_WRITERS = ["rfc2136", "exec", "acme-dns", "lexicon"]

_OPTIONS = (
    click.option("--challenge", type=click.Choice(_TYPES), help="How the names are proved."),
    click.option("--for", "pattern", help="Only for hosts like this: a host, or *.zone."),
    click.option("--http-port", type=click.IntRange(1, 65535), help="Own responder's.  [80]"),
    click.option("--http-webroot", help="Write the answers below this folder instead."),
    click.option("--http-farm", is_flag=True, help="The members answer: configure http-01."),
    click.option("--tls-port", type=click.IntRange(1, 65535), help="Own responder's.  [443]"),
    click.option("--dns", type=click.Choice(_WRITERS), help="Who writes the TXT records."),
    click.option("--dns-server", help="HOST:PORT for updates; the URL of acme-dns."),
    click.option("--dns-zone", help="The zone that is written."),
    click.option("--dns-credential", default="", help="The TSIG key's or provider's credential."),
    click.option("--dns-algorithm", help="Of the TSIG key.  [hmac-sha256]"),
    click.option("--dns-provider", help="lexicon's name of the provider."),
    click.option("--dns-command", multiple=True, help="Program of `exec`; again: its arguments."),
    click.option("--dns-resolver", help="HOST:PORT to ask instead of the system's resolver."),
)
_SETTINGS = {
    "http_webroot": "webroot",
    "http_farm": "farm",
    "dns": "dns",
    "dns_server": "server",
    "dns_zone": "zone",
    "dns_algorithm": "algorithm",
    "dns_provider": "provider",
    "dns_resolver": "resolver",
}


_NEED_TYPE = (*_SETTINGS, "pattern", "http_port", "tls_port", "dns_credential", "dns_command")


def challenge_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command all options about challenges."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def chosen_challenges(given: Mapping[str, object]) -> tuple[ChallengeChoice, ...]:
    """What the options say; none when there is no --challenge (http-01 on port 80 then).

    given: these options, and perhaps others.
    """
    from certshelf.manage.model import ChallengeChoice

    if not given["challenge"]:
        for key in sorted(key for key in _NEED_TYPE if given[key]):
            option = "for" if key == "pattern" else key.replace("_", "-")
            raise click.UsageError(f"--{option} needs --challenge")
        return ()
    settings = {name: str(given[key]) for key, name in _SETTINGS.items() if given[key]}
    if port := given["http_port"] or given["tls_port"]:
        settings["port"] = str(port)
    if isinstance(command := given["dns_command"], tuple) and command:
        settings["command"] = "\n".join(command)
    credential = str(given["dns_credential"])
    pattern = str(given["pattern"] or "*")
    return (ChallengeChoice(str(given["challenge"]), pattern, settings, credential),)


def with_choices(
    there: tuple[ChallengeChoice, ...], new: tuple[ChallengeChoice, ...]
) -> tuple[ChallengeChoice, ...]:
    """The choices with new ones in the place of those for the same hosts, the widest last.

    The first that matches a host counts, so `*.b.example` stands before `*`.
    """
    patterns = {choice.pattern for choice in new}
    merged = [*(choice for choice in there if choice.pattern not in patterns), *new]
    return tuple(
        sorted(merged, key=lambda choice: (choice.pattern == "*", choice.pattern[:1] == "*"))
    )

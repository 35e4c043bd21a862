"""The options that say what a managed certificate shall be, and what they mean as a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from certshelf.manage.model import ManagedCertificate

_KEYS = ["ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096"]
_MODES = ["auto", "shelf-only", "none"]
_TEXTS = {
    "issuer": "issuer",
    "key": "key_type",
    "profile": "profile",
    "preferred_chain": "preferred_chain",
    "comment": "comment",
    "password_credential": "password_credential",
    "reuse_key": "reuse_key",
    "auto_renew": "auto_renew",
}
_LISTS = {"groups": "groups", "fallback": "fallbacks", "tags": "tags"}

_OPTIONS = (
    click.option("--issuer", help="Who signs.  [default: of the settings, local]"),
    click.option("--key", type=click.Choice(_KEYS), help="Key type.  [default: of the settings]"),
    click.option("--mode", type=click.Choice(_MODES), help="What happens after issuance."),
    click.option("--group", "groups", multiple=True, help="Publish to this group's shelf."),
    click.option("--fallback", multiple=True, help="Who signs when the issuer cannot."),
    click.option("--profile", help="The CA's certificate profile."),
    click.option("--preferred-chain", help="Common name that the chain shall end in."),
    click.option("--reuse-key/--new-key", default=None, help="Keep the private key at renewals."),
    click.option("--auto-renew/--no-auto-renew", default=None, help="Renew it by itself."),
    click.option("--tag", "tags", multiple=True, help="A word to find it by."),
    click.option("--comment", help="Anything, for people."),
    click.option("--password-credential", help="Its PFX password, if not the shelf's."),
)


csr_option = click.option(
    "--csr",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Somebody else's CSR (PEM or DER): its key stays there, no shelf.",
)


def wish_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command all options about what a certificate shall be; lists are repeatable."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def as_wished(one: ManagedCertificate, given: Mapping[str, Any]) -> ManagedCertificate:
    """The certificate with what the options say; what was not given stays.

    An empty text empties a list: `--tag ""` takes all tags away.
    """
    from certshelf.manage.model import Mode

    changes: dict[str, Any] = {}
    for option, attribute in _TEXTS.items():
        if given[option] is not None:
            changes[attribute] = given[option]
    for option, attribute in _LISTS.items():
        if given[option]:
            changes[attribute] = tuple(dict.fromkeys(text for text in given[option] if text))
    if given["mode"]:
        changes["mode"] = Mode(given["mode"])
    return replace(one, **changes)

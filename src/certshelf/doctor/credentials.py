"""Does a login, token or password end soon, as far as its owner said when?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from certshelf.clock import iso
from certshelf.doctor.base import Check, error, warning
from certshelf.doctor.context import Context
from certshelf.finding import Finding

EXPIRY_NOTICE = timedelta(days=21)
"""So long before its end a credential is told of: time to ask another department for a new one."""


def _expiring(context: Context) -> Iterator[Finding]:
    for credential in context.credentials or ():
        end = credential.expires_at
        if end is None or end - context.now > EXPIRY_NOTICE:
            continue
        is_over = end <= context.now
        say = error if is_over else warning
        yield say(
            "credential-expiring",
            credential.name,
            f"the credential {credential.name} {'expired' if is_over else 'expires'} {iso(end)}",
            "what needs it (a share, a DNS provider, a CA) fails from then on",
            f"get a new secret, then certshelf credential set {credential.name} --expires DATE",
        )


def _no_credentials(context: Context) -> str:
    return "" if context.credentials is not None else "there is no manager here"


CHECKS = (Check("credential-expiring", "no credential expires soon", _expiring, _no_credentials),)

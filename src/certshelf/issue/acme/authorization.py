"""An authorization: a name, and the challenges that can prove it (RFC 8555 section 7.1.4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from certshelf.issue.acme import fields
from certshelf.issue.acme.account import Account
from certshelf.issue.acme.challenge import AcmeChallenge, read_challenge
from certshelf.issue.acme.client import AcmeClient
from certshelf.issue.acme.identifiers import Identifier


@dataclass(frozen=True, slots=True)
class Authorization:
    """One authorization as the CA last told it.

    status: "pending", "valid", "invalid", "deactivated", "expired" or "revoked"; valid ones are
    reused by CAs, and need no challenge. identifier: without `*.`; wildcard says that it had one.
    """

    url: str
    status: str
    identifier: Identifier
    wildcard: bool
    challenges: tuple[AcmeChallenge, ...]
    expires: datetime | None = None

    @property
    def name(self) -> str:
        """The name as it was ordered, for people."""
        return f"*.{self.identifier}" if self.wildcard else str(self.identifier)


async def fetch(client: AcmeClient, account: Account, url: str) -> Authorization:
    """Look at an authorization."""
    response = await client.post(url, None, account.signer)
    document = response.json()
    return Authorization(
        url=url,
        status=fields.text(document, "status"),
        identifier=fields.identifier(document.get("identifier")),
        wildcard=document.get("wildcard") is True,
        challenges=tuple(read_challenge(c) for c in fields.objects(document, "challenges", 50)),
        expires=fields.moment(document, "expires"),
    )


async def deactivate(client: AcmeClient, account: Account, url: str) -> None:
    """Give an authorization up (RFC 8555 section 7.5.2): the CA must validate the name anew."""
    await client.post(url, {"status": "deactivated"}, account.signer)

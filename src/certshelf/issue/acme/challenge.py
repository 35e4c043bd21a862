"""A challenge as the CA sends it, and the word that it may now be checked (RFC 8555 7.5.1)."""

from __future__ import annotations

from dataclasses import dataclass

from certshelf.challenge import TOKEN, Challenge
from certshelf.errors import AcmeProblem, IssuerUnreachable
from certshelf.issue.acme import fields
from certshelf.issue.acme.account import Account
from certshelf.issue.acme.client import AcmeClient
from certshelf.issue.acme.identifiers import Identifier
from certshelf.issue.acme.problem import from_document, printable


@dataclass(frozen=True, slots=True)
class AcmeChallenge:
    """One way to prove a name.

    status: "pending", "processing", "valid" or "invalid". token: "" for dns-persist-01, whose
    issuers and account_uri say what its standing record must hold (draft-ietf-acme-dns-persist).
    """

    type: str
    url: str
    status: str
    token: str = ""
    error: AcmeProblem | None = None
    issuers: tuple[str, ...] = ()
    account_uri: str = ""

    def to_present(self, identifier: Identifier, account: Account) -> Challenge:
        """What a solver presents: the token with the account's thumbprint."""
        authorization = f"{self.token}.{account.thumbprint}" if self.token else ""
        return Challenge(self.type, identifier.base, self.token, authorization)


async def answer(client: AcmeClient, account: Account, challenge: AcmeChallenge) -> None:
    """Tell the CA that the challenge may be checked.

    Safe to repeat, but the CA answers 400 malformed for a challenge that is valid already: look
    at the authorization then.
    """
    await client.post(challenge.url, {}, account.signer)


def read_challenge(value: object) -> AcmeChallenge:
    """A challenge from an authorization's list.

    Raises IssuerUnreachable for a token that is not base64url: it becomes a file name and a
    part of URLs, so nothing else may pass.
    """
    if not isinstance(value, dict):
        raise fields.wrong("challenges", value)
    token = fields.text(value, "token", "")
    if token and not TOKEN.fullmatch(token):
        raise IssuerUnreachable(f"the CA sends a wrong challenge token: {printable(token, 60)!r}")
    error = value.get("error")
    # the draft renamed the member from issuer-domain-names in 2026-07; CAs send either
    issuers = value.get("issuerDomainNames") or value.get("issuer-domain-names") or []
    return AcmeChallenge(
        type=fields.text(value, "type"),
        url=fields.url(value, "url"),
        status=fields.text(value, "status", "pending"),
        token=token,
        error=from_document(error) if isinstance(error, dict) else None,
        issuers=tuple(printable(i) for i in issuers[:10]) if isinstance(issuers, list) else (),
        account_uri=printable(value.get("accounturi") or "", 500),
    )

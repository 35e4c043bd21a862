"""An account at a CA: make, find, update, change its key, close (RFC 8555 section 7.3)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from certshelf.bundle.model import PrivateKey
from certshelf.errors import AcmeProblem, CredentialError
from certshelf.issue.acme import fields, jws
from certshelf.issue.acme.client import AcmeClient, Signer
from certshelf.issue.acme.response import Response
from certshelf.secret import Secret


@dataclass(frozen=True, slots=True)
class ExternalBinding:
    """What ties the account to a customer of the CA: key id and base64url MAC key (7.3.4)."""

    kid: str
    mac_key: Secret


@dataclass(frozen=True, slots=True)
class Account:
    """One account: its URL, its key and what the CA knows of it.

    status: "valid", "deactivated" or "revoked". contact: `mailto:` URLs.
    """

    url: str
    key: PrivateKey = field(repr=False)
    status: str = "valid"
    contact: tuple[str, ...] = ()

    @property
    def signer(self) -> Signer:
        """Who signs this account's requests."""
        return Signer(self.key, self.url)

    @property
    def thumbprint(self) -> str:
        """What ends every key authorization; constant until the key changes, and public."""
        return jws.thumbprint(self.key)


async def register(
    client: AcmeClient,
    key: PrivateKey,
    *,
    contact: Iterable[str] = (),
    binding: ExternalBinding | None = None,
) -> Account:
    """Make the account of this key, with the CA's terms accepted; safe to repeat.

    contact: e-mail addresses, or URLs. The same key gives the same account (RFC 8555 7.3.1).
    Raises CredentialError when the CA demands an external binding and none is given.
    """
    directory = await client.directory()
    if directory.external_account_required and binding is None:
        raise CredentialError(
            "this CA wants an external account binding",
            hint="get a key at the CA's site; give --eab-kid and --eab-key-file",
        )
    payload: dict[str, object] = {"termsOfServiceAgreed": True}
    if urls := contact_urls(contact):
        payload["contact"] = list(urls)
    if binding is not None:
        payload["externalAccountBinding"] = jws.bind(
            binding.kid, binding.mac_key, directory.new_account, jws.jwk(key)
        )
    response = await client.post(directory.new_account, payload, Signer(key))
    return _account(response, response.object_url(), key)


async def find(client: AcmeClient, key: PrivateKey) -> Account | None:
    """The account of this key, or None when the CA has none (RFC 8555 section 7.3.1)."""
    directory = await client.directory()
    try:
        response = await client.post(
            directory.new_account, {"onlyReturnExisting": True}, Signer(key)
        )
    except AcmeProblem as problem:
        if problem.type == "accountDoesNotExist":
            return None
        raise
    return _account(response, response.object_url(), key)


async def update(client: AcmeClient, account: Account, contact: Iterable[str]) -> Account:
    """Give the account these contacts and no others; safe to repeat."""
    payload = {"contact": list(contact_urls(contact))}
    response = await client.post(account.url, payload, account.signer)
    return _account(response, account.url, account.key)


async def roll_over(client: AcmeClient, account: Account, new_key: PrivateKey) -> Account:
    """Give the account a new key (RFC 8555 section 7.3.5); keep new_key before calling.

    Afterwards every key authorization ends in another thumbprint: challenge rules on servers
    must be written again. Repeating it after a lost answer: find() with the new key tells.
    """
    url = (await client.directory()).key_change
    inner = json.dumps({"account": account.url, "oldKey": jws.jwk(account.key)}).encode()
    signed = jws.sign(new_key, {"jwk": jws.jwk(new_key), "url": url}, inner)
    await client.post(url, signed, account.signer)
    return replace(account, key=new_key)


async def deactivate(client: AcmeClient, account: Account) -> Account:
    """Close the account for good (RFC 8555 section 7.3.6); its certificates stay valid."""
    response = await client.post(account.url, {"status": "deactivated"}, account.signer)
    return _account(response, account.url, account.key)


def contact_urls(contact: Iterable[str]) -> tuple[str, ...]:
    """E-mail addresses as `mailto:` URLs; what is a URL already stays."""
    return tuple(c if ":" in c else f"mailto:{c}" for c in contact)


def _account(response: Response, url: str, key: PrivateKey) -> Account:
    document = response.document() or {}  # some CAs answer with an empty body
    return Account(
        url=url,
        key=key,
        status=fields.text(document, "status", "valid"),
        contact=tuple(str(c) for c in fields.objects(document, "contact")),
    )

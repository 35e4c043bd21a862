"""TXT records at an acme-dns server: a tiny DNS server that only holds challenge records.

Source: the API of github.com/joohoi/acme-dns (README, "Update endpoint").
"""

from __future__ import annotations

from dataclasses import dataclass, field

import aiohttp

from certshelf.errors import ChallengeFailed, ConfigError, CredentialError, IssuerUnreachable
from certshelf.issue.acme.directory import checked_url
from certshelf.issue.acme.problem import printable
from certshelf.secret import Secret

_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class AcmeDnsAccount:
    """What acme-dns's `/register` gave: keep the password as a credential.

    subdomain: the first label of full_domain, which `_acme-challenge.NAME` is a CNAME to.
    """

    url: str
    username: str
    password: Secret = field(repr=False)
    subdomain: str


class AcmeDns:
    """Writes the one record of an acme-dns account, which keeps its two newest values."""

    def __init__(self, account: AcmeDnsAccount) -> None:
        """ConfigError for a URL over which the password would travel in clear."""
        self._account = account
        if not _is_safe(account.url):
            raise ConfigError(
                f"acme-dns at {printable(account.url)}: a password travels by https:// only",
                hint="give acme-dns a certificate; http:// is for this machine itself",
            )

    async def add(self, name: str, value: str) -> None:
        """See TxtWriter; name must be the account's own, where the CNAME leads."""
        account = self._account
        if name.partition(".")[0] != account.subdomain:
            raise ChallengeFailed(
                f"{name} is not the acme-dns name {account.subdomain}",
                hint=f"let the CNAME lead to {account.subdomain}.<the acme-dns server's domain>",
            )
        headers = {"X-Api-User": account.username, "X-Api-Key": account.password.reveal()}
        body = {"subdomain": account.subdomain, "txt": value}
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(
                    account.url.rstrip("/") + "/update",
                    json=body,
                    headers=headers,
                    allow_redirects=False,
                ) as answer,
            ):
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ChallengeFailed(
                f"acme-dns does not answer at {account.url}: {type(error).__name__}",
                hint="check the URL and that the server runs",
            ) from error
        if status == 401:
            raise CredentialError(
                f"acme-dns at {account.url} refuses the account {account.username!r}",
                hint="register again, and change the CNAME",
            )
        if status != 200:
            raise ChallengeFailed(f"acme-dns at {account.url} answers {status} to an update")

    async def remove(self, name: str, value: str) -> None:
        """See TxtWriter: acme-dns has no removal; old values fall out by themselves."""


def _is_safe(url: str) -> bool:
    try:
        checked_url(url)
    except IssuerUnreachable:
        return False
    return True

"""The ports that challenges are answered on: opened once, shared by all orders of a process."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from ipaddress import ip_address
from typing import TYPE_CHECKING

from certshelf.errors import ConfigError, NameInvalid
from certshelf.issue.solve.base import Solver
from certshelf.issue.solve.http01 import Http01Responder, ThumbprintOf
from certshelf.issue.solve.tlsalpn01 import TlsAlpn01Responder
from certshelf.manage.model import ChallengeChoice, IssuerKind
from certshelf.names import HostName

if TYPE_CHECKING:
    from certshelf.manage.db.records import Records

HTTP_PORT, TLS_PORT = 80, 443
DEFAULT = ChallengeChoice("http-01")
"""What a certificate without a choice uses: a responder of our own on port 80."""


class Responders:
    """One responder for each kind and port. Use it as an async context manager.

    thumbprint_of: whose answer is given to tokens that no order of this process presented; see
    Http01Responder.
    """

    def __init__(self, thumbprint_of: ThumbprintOf | None = None) -> None:
        self._thumbprint_of = thumbprint_of
        self._open: dict[tuple[str, int], Solver] = {}
        self._turn = asyncio.Lock()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Responders:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def get(self, kind: str, port: int) -> Solver:
        """The responder of `http-01` or `tls-alpn-01` on a port. ConfigError: it cannot listen."""
        async with self._turn:
            if (kind, port) not in self._open:
                made = (
                    Http01Responder(port=port, thumbprint=self._thumbprint_of or "")
                    if kind == "http-01"
                    else TlsAlpn01Responder(port=port)
                )
                self._open[kind, port] = await self._stack.enter_async_context(made)
            return self._open[kind, port]


def http_ports(records: Records) -> set[int]:
    """Where certificates of ACME issuers that are kept issued want http-01 to be answered."""
    acme = {one.name for one in records.issuers.all() if one.kind is IssuerKind.ACME}
    ports = set()
    for issuer, choices in records.certificates.challenges_in_use():
        if issuer not in acme:
            continue
        own = [choice for choice in choices or (DEFAULT,) if _is_ours(choice)]
        ports |= {int(choice.settings.get("port") or HTTP_PORT) for choice in own}
    return ports


def _is_ours(choice: ChallengeChoice) -> bool:
    """Whether it is answered by a responder of our own."""
    return choice.type == "http-01" and not choice.settings.keys() & {"webroot", "farm"}


def thumbprint_for(records: Records, host: str) -> str:
    """Of our account at the CA that signs for a host; "" for a host that is not managed here.

    So nothing is answered for a name that somebody else pointed at this machine.
    """
    try:
        name = ip_address(host).compressed
    except ValueError:
        try:
            name = HostName.parse(host).ascii
        except NameInvalid:
            return ""
    for issuer in records.certificates.issuers_of(name):
        account = records.accounts.find(issuer)
        if account is not None and account.status == "valid":
            return account.thumbprint
    return ""


async def open_all(responders: Responders, ports: set[int]) -> None:
    """Listen on each port; ConfigError for the first that is taken, once all were tried."""
    failed: ConfigError | None = None
    for port in sorted(ports):
        try:
            await responders.get("http-01", port)
        except ConfigError as error:
            failed = failed or error
    if failed is not None:
        raise failed

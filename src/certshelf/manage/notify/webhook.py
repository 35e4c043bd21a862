"""A digest posted to a URL, which can not be turned against machines that only we reach."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass, field
from ipaddress import ip_address

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from certshelf.deploy.guarded_http import may_reach
from certshelf.errors import ConfigError, DeployError
from certshelf.manage.notify.base import Message
from certshelf.secret import Secret

_TIMEOUT = aiohttp.ClientTimeout(total=10, connect=5)
_MAX_ANSWER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Webhook:
    """See Way. url: often a secret itself. allowed: hosts that may be private, and without TLS."""

    url: Secret = field(repr=False)
    allowed: frozenset[str] = frozenset()
    name: str = "webhook"

    async def send(self, message: Message) -> None:
        """Post the digest as JSON; no redirect is followed, and no proxy is asked."""
        url = self._checked()
        connector = aiohttp.TCPConnector(resolver=Guard(self.allowed), use_dns_cache=False)
        body = json.dumps({"title": message.title, "text": f"{message.title}\n{message.text}"})
        headers = {"Content-Type": "application/json"}
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session,
                session.post(url, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                await answer.content.read(_MAX_ANSWER_BYTES)
                status = answer.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise DeployError(
                f"the webhook of {url.host} does not answer: {type(error).__name__}"
            ) from None  # its text holds the URL
        if not 200 <= status < 300:
            raise DeployError(f"the webhook of {url.host} answers {status}")

    def _checked(self) -> URL:
        try:
            url = URL(self.url.reveal().strip())
            host = url.host or ""
        except ValueError:
            raise ConfigError("the webhook's credential holds no URL") from None
        is_allowed = host.lower() in self.allowed
        if not host or url.scheme not in (("https", "http") if is_allowed else ("https",)):
            raise ConfigError("a webhook is an https URL", hint="or see notify.webhook_allow")
        if not is_allowed and _is_literal(host) and not is_public(host):
            raise _refused(host)
        return url


class Guard(AbstractResolver):
    """Resolves a host once, and refuses it when any of its addresses is not a public one.

    The connection goes to an address that was looked at: a second answer changes nothing.
    """

    def __init__(self, allowed: frozenset[str], resolver: AbstractResolver | None = None) -> None:
        self._allowed = allowed
        self._resolver = resolver or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """See aiohttp."""
        found = await self._resolver.resolve(host, port, family)
        if host.lower() not in self._allowed and not all(is_public(r["host"]) for r in found):
            raise OSError(f"{host} is not a public address")
        return found

    async def close(self) -> None:
        """See aiohttp."""
        await self._resolver.close()


def is_public(text: str) -> bool:
    """Whether an IP address is one of the public Internet: the rule of the task `webhook`."""
    return may_reach(ip_address(text.partition("%")[0]))


def _is_literal(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _refused(host: str) -> ConfigError:
    return ConfigError(
        f"the webhook's host {host} is not public",
        hint="name it in notify.webhook_allow if that is meant",
    )

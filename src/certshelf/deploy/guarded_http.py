"""POST to an address that somebody typed in, so that it cannot reach what it should not.

https only unless allowed, the name resolved once and that address used, no private, loopback or
link-local address unless it is allow-listed, no redirects, no proxy, 5 seconds, 64 KB of answer.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from certshelf.errors import ConfigError, DeployError

if TYPE_CHECKING:
    from aiohttp.abc import ResolveResult

TIMEOUT_SECONDS = 5.0
MAX_ANSWER_BYTES = 64 * 1024
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_HINT = "task add --set allow=NETWORK lets it go there"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a request goes: a URL, and the addresses that its name was resolved to, checked."""

    url: str
    host: str
    port: int
    addresses: tuple[str, ...]


def parse_url(url: str, *, allow_http: bool) -> SplitResult:
    """The parts of a URL that may be asked; ConfigError for any other."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError("no URL of a receiver: it cannot be read") from None
    schemes = ("https", "http") if allow_http else ("https",)
    if parts.scheme not in schemes or not parts.hostname or port == 0:
        raise ConfigError(
            f"no URL of a receiver: expected {' or '.join(schemes)}://host/path",
            hint="--set allow_http=true permits http" if parts.scheme == "http" else "",
        )
    if parts.username is not None or parts.password is not None:
        raise ConfigError("a user or password in the URL of a receiver", hint="use a credential")
    if any(ord(c) <= 0x20 or c == "\\" for c in url):
        raise ConfigError("no URL of a receiver: it holds spaces, controls or a backslash")
    return parts


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks that may be reached although they are not public; ConfigError for what is none."""
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError:
        raise ConfigError("allow takes networks such as 10.1.2.0/24 or 10.1.2.3/32") from None


def resolve(
    url: str, *, allow_http: bool = False, allowed: tuple[Network, ...] = ()
) -> Destination:
    """Resolve once. DeployError when the name has no address, or one that may not be reached."""
    parts = parse_url(url, allow_http=allow_http)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DeployError(f"{host[:100]} has no address: {error}") from error
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    for text in addresses:
        address = ipaddress.ip_address(text.partition("%")[0])
        if not may_reach(address, allowed):
            at = "" if text == host else f" is at {text}, which"
            raise DeployError(f"{host[:100]}{at} is not public", hint=_HINT)
    return Destination(url, host, port, addresses)


def may_reach(address: Address, allowed: tuple[Network, ...] = ()) -> bool:
    """Whether an address is public, or allow-listed; one inside another counts as both."""
    if any(address in network for network in allowed):
        return True
    inner = _embedded(address)
    if inner is not None:
        return may_reach(inner, allowed)
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for (RFC 4291, 3056, 6052), if any."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


def post(
    destination: Destination,
    body: bytes,
    headers: Mapping[str, str],
    *,
    seconds: float = TIMEOUT_SECONDS,
    trust: ssl.SSLContext | None = None,
) -> tuple[int, bytes]:
    """Status and body of the answer; DeployError when there is none. A redirect is an answer.

    trust: another set of CAs. Runs its own event loop: call it from a thread without one.
    """
    import aiohttp

    try:
        return asyncio.run(_post(destination, body, headers, seconds, trust))
    except TimeoutError as error:
        raise DeployError(f"{destination.host} did not answer in {seconds:.0f} s") from error
    except (aiohttp.ClientError, OSError) as error:
        # the text of the other kinds holds the whole URL, in which a token may be
        plain = isinstance(error, (aiohttp.ClientConnectionError, OSError))
        why = str(error) if plain else type(error).__name__
        raise DeployError(f"{destination.host} cannot be asked: {why}") from None


async def _post(
    destination: Destination,
    body: bytes,
    headers: Mapping[str, str],
    seconds: float,
    trust: ssl.SSLContext | None,
) -> tuple[int, bytes]:
    import aiohttp

    connector = aiohttp.TCPConnector(
        resolver=_pinned(destination), use_dns_cache=False, ssl=trust or True, limit=1
    )
    timeout = aiohttp.ClientTimeout(total=seconds)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session,
        session.post(destination.url, data=body, headers=headers, allow_redirects=False) as answer,
    ):
        said = await _limited(answer)
        return answer.status, said


async def _limited(answer: Any) -> bytes:
    said = bytearray()
    async for part in answer.content.iter_chunked(8192):
        said += part
        if len(said) > MAX_ANSWER_BYTES:
            raise DeployError(f"it answers with more than {MAX_ANSWER_BYTES // 1024} KB")
    return bytes(said)


def _pinned(destination: Destination) -> Any:
    """A resolver that knows one name: what was checked is what is connected to."""
    from aiohttp.abc import AbstractResolver

    class Pinned(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            if host != destination.host:
                raise OSError(f"{host[:100]} was not checked")
            return [
                {
                    "hostname": host,
                    "host": address,
                    "port": port,
                    "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                    "proto": 0,
                    "flags": socket.AI_NUMERICHOST,
                }
                for address in destination.addresses
            ]

        async def close(self) -> None:
            return None

    return Pinned()

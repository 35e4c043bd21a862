"""The proxy that the system names for a CA, asked once for each of its hosts."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


class Proxies:
    """HTTPS_PROXY and NO_PROXY, as every other client honours them.

    aiohttp's own trust_env asks twice for each request, each time in a thread, and would send a
    password of ~/.netrc to a CA.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str | None] = {}

    async def find(self, url: str) -> str | None:
        """The proxy's URL, None for a direct connection."""
        parts = urlsplit(url)
        origin = parts.scheme, parts.hostname or ""
        if origin not in self._known:
            self._known[origin] = await asyncio.to_thread(_find, *origin)
        return self._known[origin]


def _find(scheme: str, host: str) -> str | None:
    """May look up a name (macOS) or read the registry (Windows)."""
    return None if proxy_bypass(host) else getproxies().get(scheme)

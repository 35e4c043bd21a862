"""dns-01: a TXT record, written where the CNAMEs lead and seen at every authoritative server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from certshelf.challenge import Challenge
from certshelf.clock import SYSTEM, Clock
from certshelf.errors import ChallengeFailed
from certshelf.issue.solve.dns.lookup import Lookup, NameServer

PREFIX = "_acme-challenge."


class TxtWriter(Protocol):
    """Writes TXT records at one DNS provider; both methods are safe to repeat.

    Several values stand at one name at once (a.test and *.a.test share theirs), so values are
    added and removed one by one. Raises ChallengeFailed, CredentialError or ConfigError.
    """

    async def add(self, name: str, value: str) -> None:
        """Let the TXT records of name (no trailing dot) include value."""
        ...

    async def remove(self, name: str, value: str) -> None:
        """Let them no longer include value; others stay."""
        ...


@dataclass(frozen=True, slots=True)
class Propagation:
    """How long the authoritative servers may take, and how often they are asked; in seconds."""

    deadline_s: float = 180.0
    interval_s: float = 2.0


class Dns01:
    """Answers dns-01 by way of a writer.

    A CNAME at `_acme-challenge.NAME` is followed, so that a name may be delegated to a zone that
    the manager may write (RFC 8555 section 8.4 lets CAs follow it too).
    """

    type = "dns-01"

    def __init__(
        self,
        writer: TxtWriter,
        lookup: Lookup,
        *,
        propagation: Propagation | None = None,
        clock: Clock = SYSTEM,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._writer = writer
        self._lookup = lookup
        self._propagation = propagation or Propagation()
        self._clock = clock
        self._sleep = sleep

    async def present(self, challenge: Challenge) -> None:
        """See Solver."""
        name = await self._lookup.target(PREFIX + challenge.domain)
        await self._writer.add(name, challenge.dns_value)

    async def wait(self, challenge: Challenge) -> None:
        """See Solver: until every authoritative server shows the value, or the deadline."""
        name = await self._lookup.target(PREFIX + challenge.domain)
        servers = await self._lookup.authorities(name)
        deadline = self._clock.monotonic() + self._propagation.deadline_s
        while late := await self._late(servers, name, challenge.dns_value):
            if self._clock.monotonic() >= deadline:
                raise ChallengeFailed(
                    f"{challenge.domain}: the TXT record {name} is not at {', '.join(late)} "
                    f"after {self._propagation.deadline_s:g} s",
                    hint="check that these servers get the zone's changes (NOTIFY, transfer)",
                )
            await self._sleep(self._propagation.interval_s)

    async def clean_up(self, challenge: Challenge) -> None:
        """See Solver."""
        name = await self._lookup.target(PREFIX + challenge.domain)
        await self._writer.remove(name, challenge.dns_value)

    async def _late(self, servers: tuple[NameServer, ...], name: str, value: str) -> list[str]:
        seen = await asyncio.gather(*(self._has(server, name, value) for server in servers))
        return [str(server) for server, has in zip(servers, seen, strict=True) if not has]

    async def _has(self, server: NameServer, name: str, value: str) -> bool:
        try:
            return value in await self._lookup.texts_at(server, name)
        except ChallengeFailed:
            return False  # it may come back before the deadline, which then names it

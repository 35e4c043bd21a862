"""Questions to the DNS: where a name leads, who is its authority, what each authority says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import dns.asyncquery
import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.resolver

from certshelf.errors import ChallengeFailed

_TIMEOUT_S = 3.0
_MAX_HOPS = 10
_MAX_SERVERS = 20


@dataclass(frozen=True, slots=True)
class NameServer:
    """A name server: its address and port; `name` is for people."""

    address: str
    port: int = 53
    name: str = ""

    def __str__(self) -> str:
        where = self.address if self.port == 53 else f"{self.address}:{self.port}"
        return f"{self.name} ({where})" if self.name else where


class Lookup:
    """Asks the system's resolver, or `resolver`, and the authorities themselves.

    authorities: ask these and no others, where the public cannot see the zone's real servers
    (split DNS, a hidden primary). All names go in and come out without a trailing dot. Every
    method raises ChallengeFailed when the DNS gives no answer at all.
    """

    def __init__(
        self, resolver: NameServer | None = None, authorities: tuple[NameServer, ...] = ()
    ) -> None:
        self._resolver = resolver
        self._authorities = authorities

    async def target(self, name: str) -> str:
        """Where a record for name must be written: name, or the end of its chain of CNAMEs."""
        seen = [name]
        while len(seen) <= _MAX_HOPS:
            answer = await self._ask(seen[-1], dns.rdatatype.CNAME)
            found = [_text(record.target) for record in answer]
            if not found:
                return seen[-1]
            if found[0] in seen:
                break
            seen.append(found[0])
        raise ChallengeFailed(
            f"{name}: its CNAMEs never end: {' -> '.join(seen[:4])} ...",
            hint="mend the CNAME records",
        )

    async def zone(self, name: str) -> str:
        """The zone that holds name: the nearest name upwards with an SOA record."""
        labels = name.split(".")
        for start in range(len(labels)):
            candidate = ".".join(labels[start:])
            if await self._ask(candidate, dns.rdatatype.SOA):
                return candidate
        raise ChallengeFailed(f"{name}: no zone holds it", hint="check the domain's delegation")

    async def authorities(self, name: str) -> tuple[NameServer, ...]:
        """Every authoritative server of the zone that holds name, by each of its addresses."""
        if self._authorities:
            return self._authorities
        zone = await self.zone(name)
        servers = [_text(record.target) for record in await self._ask(zone, dns.rdatatype.NS)]
        found = []
        for server in sorted(servers)[:_MAX_SERVERS]:
            found += [NameServer(address, 53, server) for address in await self.addresses(server)]
        if not found:
            raise ChallengeFailed(
                f"{zone}: none of its name servers has an address", hint="check the delegation"
            )
        return tuple(found)

    async def addresses(self, name: str) -> tuple[str, ...]:
        """The IPv4 and IPv6 addresses of a name; none when it has none."""
        kinds = (dns.rdatatype.A, dns.rdatatype.AAAA)
        answers = await asyncio.gather(*(self._ask(name, kind) for kind in kinds))
        return tuple(str(record.address) for answer in answers for record in answer)

    async def texts(self, name: str) -> tuple[str, ...]:
        """The TXT values of a name, as the resolver has them."""
        return _texts(await self._ask(name, dns.rdatatype.TXT))

    async def texts_at(self, server: NameServer, name: str) -> tuple[str, ...]:
        """The TXT values of a name, as this very server has them.

        Raises ChallengeFailed when it does not answer.
        """
        query = dns.message.make_query(name + ".", dns.rdatatype.TXT)
        query.flags &= ~dns.flags.RD  # no recursion: its own word, no cache's
        try:
            answer, _ = await dns.asyncquery.udp_with_fallback(
                query, server.address, timeout=_TIMEOUT_S, port=server.port, ignore_unexpected=True
            )
        except (dns.exception.DNSException, OSError) as error:
            raise ChallengeFailed(
                f"the name server {server} does not answer: {type(error).__name__}",
                hint="check that the manager may send DNS queries there",
            ) from error
        records = [r for s in answer.answer if s.rdtype == dns.rdatatype.TXT for r in s]
        return _texts(records)

    async def caa(self, name: str) -> tuple[str, tuple[tuple[str, str], ...]]:
        """The CAA records that rule a name, and where they stand (RFC 8659 section 3).

        Each as (tag, value): the nearest name upwards that has any decides; none anywhere lets
        every CA issue.
        """
        labels = name.split(".")
        for start in range(len(labels)):
            candidate = ".".join(labels[start:])
            if answer := await self._ask(candidate, dns.rdatatype.CAA):
                records = ((r.tag.decode().lower(), r.value.decode()) for r in answer)
                return candidate, tuple(records)
        return "", ()

    async def _ask(self, name: str, kind: dns.rdatatype.RdataType) -> list[Any]:
        """The records of a name, each with its kind's own fields; none when there are none."""
        try:
            answer = await self._open().resolve(
                name + ".", kind, raise_on_no_answer=False, lifetime=2 * _TIMEOUT_S
            )
        except dns.resolver.NXDOMAIN:
            return []
        except (dns.exception.DNSException, OSError) as error:
            raise ChallengeFailed(
                f"the DNS gives no answer for {name} {kind.name}: {type(error).__name__}",
                hint="check the domain's name servers and DNSSEC",
            ) from error
        return list(answer.rrset or ())

    def _open(self) -> dns.asyncresolver.Resolver:
        resolver = dns.asyncresolver.Resolver(configure=self._resolver is None)
        if self._resolver is not None:
            resolver.nameservers = [self._resolver.address]
            resolver.port = self._resolver.port
        resolver.timeout = _TIMEOUT_S
        return resolver


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def _texts(records: list[Any]) -> tuple[str, ...]:
    return tuple(b"".join(record.strings).decode("utf-8", "replace") for record in records)

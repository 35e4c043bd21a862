"""dns-persist-01: a standing TXT record, written once by hand; here it is printed and verified.

Source: draft-ietf-acme-dns-persist (2026-07), whose record has the form of a CAA issue-value
(RFC 8659 section 4.2): `"ca.example; accounturi=URL; policy=wildcard; persistUntil=SECONDS"`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from certshelf.challenge import Challenge
from certshelf.clock import SYSTEM, Clock
from certshelf.errors import ChallengeFailed
from certshelf.issue.solve.dns.lookup import Lookup

PREFIX = "_validation-persist."


@dataclass(frozen=True, slots=True)
class StandingRecord:
    """What the record says: who may issue, for which account, and for how long.

    account_uri: as the CA's challenge names it, else the account's URL. wildcard: the record is
    good for `*.NAME` and names below, too. until: aware UTC, None for ever.
    """

    issuer: str
    account_uri: str
    wildcard: bool = False
    until: datetime | None = None

    def value(self) -> str:
        """The TXT value to publish at `_validation-persist.NAME`."""
        parts = [self.issuer, f"accounturi={self.account_uri}"]
        if self.wildcard:
            parts.append("policy=wildcard")
        if self.until is not None:
            parts.append(f"persistUntil={int(self.until.timestamp())}")
        return "; ".join(parts)

    def zone_line(self, domain: str) -> str:
        """The record as a line of a zone file, its value in strings of 255 bytes at most."""
        text = self.value()
        strings = " ".join(f'"{text[at : at + 255]}"' for at in range(0, len(text), 255))
        return f"{PREFIX}{domain}. IN TXT {strings}"

    def refusal(self, value: str, now: datetime) -> str:
        """Why a TXT value does not grant what this record would; "" when it does."""
        issuer, parameters = parse(value)
        if parameters is None:
            return "it is malformed"
        if issuer != self.issuer.lower().rstrip("."):
            return f"it names {issuer or 'nobody'}"
        if parameters.get("accounturi") != self.account_uri:
            return "it names another account"
        if self.wildcard and parameters.get("policy", "").lower() != "wildcard":
            return "it lacks policy=wildcard"
        until = parameters.get("persistuntil", "")
        if until and not (until.isascii() and until.isdigit() and len(until) <= 12):
            return "its persistUntil is no number"
        if until and int(until) <= now.timestamp():
            return "its persistUntil has passed"
        return ""


def parse(value: str) -> tuple[str, dict[str, str] | None]:
    """The issuer and the parameters of a record (keys in lower case); None when malformed.

    A parameter that stands twice makes the record malformed, as the draft demands.
    """
    issuer, *rest = [part.strip() for part in value.split(";")]
    parameters: dict[str, str] = {}
    for part in filter(None, rest):
        key, equals, content = part.partition("=")
        if not equals or key.strip().lower() in parameters:
            return issuer.lower().rstrip("."), None
        parameters[key.strip().lower()] = content.strip()
    return issuer.lower().rstrip("."), parameters


@dataclass(frozen=True, slots=True)
class DnsPersist01:
    """Answers dns-persist-01: nothing is written, the standing record is only looked for.

    issuers: what the CA calls itself (Directory.caa_identities, or the challenge's own list).
    wildcard: whether the order has wildcards, so that the record must allow them.
    """

    lookup: Lookup = field(repr=False)
    issuers: tuple[str, ...]
    account_uri: str
    wildcard: bool = False
    clock: Clock = SYSTEM
    type: str = "dns-persist-01"

    async def present(self, challenge: Challenge) -> None:
        """See Solver: the record stands already."""

    async def wait(self, challenge: Challenge) -> None:
        """See Solver. Raises ChallengeFailed at once when no standing record is good."""
        values = await self.lookup.texts(PREFIX + challenge.domain)
        if why := self.refusal(values):
            wanted = self._wanted()[0].zone_line(challenge.domain)
            raise ChallengeFailed(
                f"{challenge.domain}: no good standing record: {why}", hint=f"publish: {wanted}"
            )

    async def clean_up(self, challenge: Challenge) -> None:
        """See Solver: the record stays; that is its point."""

    def refusal(self, values: Iterable[str]) -> str:
        """Why none of these TXT values will do, "" when one does."""
        now = self.clock.now()
        reasons = [min((w.refusal(v, now) for w in self._wanted()), key=len) for v in values]
        if "" in reasons:
            return ""
        return "; ".join(reasons) or "there is none"

    def _wanted(self) -> list[StandingRecord]:
        return [StandingRecord(i, self.account_uri, self.wildcard) for i in self.issuers or ("?",)]

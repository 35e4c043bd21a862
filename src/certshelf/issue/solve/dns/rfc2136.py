"""TXT records by dynamic update with TSIG (RFC 2136, RFC 8945): BIND, Knot, PowerDNS, Windows."""

from __future__ import annotations

import binascii
from dataclasses import dataclass, field

import dns.asyncquery
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.tsig
import dns.update

from certshelf.errors import ChallengeFailed, ConfigError, CredentialError
from certshelf.issue.solve.dns.lookup import NameServer
from certshelf.secret import Secret

_TIMEOUT_S = 10.0
_TTL_S = 60
ALGORITHMS = ("hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha224", "hmac-sha1")


@dataclass(frozen=True, slots=True)
class Tsig:
    """A TSIG key as BIND's `key` clause has it; secret in base64."""

    name: str
    secret: Secret = field(repr=False)
    algorithm: str = "hmac-sha256"

    def key(self) -> dns.tsig.Key:
        """The key for dnspython. Raises CredentialError, never showing the secret."""
        if self.algorithm.rstrip(".") not in ALGORITHMS:
            raise ConfigError(
                f"TSIG key {self.name!r}: no algorithm {self.algorithm!r}",
                hint=f"one of {', '.join(ALGORITHMS)}",
            )
        try:
            return dns.tsig.Key(self.name, self.secret.reveal(), self.algorithm)
        except (binascii.Error, ValueError, dns.exception.DNSException):
            raise CredentialError(
                f"the TSIG key {self.name!r} is not base64",
                hint="give the `secret` of BIND's key clause",
            ) from None


class Rfc2136:
    """Writes TXT records of one zone at its primary server; see TxtWriter."""

    def __init__(self, server: NameServer, zone: str, key: Tsig) -> None:
        self._server = server
        self._zone = zone.rstrip(".")
        self._key = key

    async def add(self, name: str, value: str) -> None:
        """See TxtWriter: adding a record that is there changes nothing (RFC 2136 3.4.2.2)."""
        update = self._update(name)
        update.add(name + ".", _TTL_S, "TXT", _quoted(value))
        await self._send(update, name)

    async def remove(self, name: str, value: str) -> None:
        """See TxtWriter: deleting what is not there changes nothing (RFC 2136 3.4.2.4)."""
        update = self._update(name)
        update.delete(name + ".", "TXT", _quoted(value))
        await self._send(update, name)

    def _update(self, name: str) -> dns.update.UpdateMessage:
        if name != self._zone and not name.endswith("." + self._zone):
            raise ConfigError(
                f"{name} is not in the zone {self._zone}",
                hint=f"let it be a CNAME to a name in {self._zone}, or give its own zone",
            )
        return dns.update.UpdateMessage(self._zone + ".", keyring=self._key.key())

    async def _send(self, update: dns.update.UpdateMessage, name: str) -> None:
        try:
            answer = await dns.asyncquery.tcp(
                update, self._server.address, timeout=_TIMEOUT_S, port=self._server.port
            )
        except (dns.tsig.PeerError, dns.tsig.BadSignature, dns.tsig.BadTime) as error:
            raise CredentialError(
                f"the name server {self._server} refuses the TSIG key {self._key.name!r}: "
                f"{type(error).__name__}",
                hint="check the key's name, algorithm and secret, and both clocks",
            ) from error
        except (dns.exception.DNSException, OSError, EOFError) as error:
            raise ChallengeFailed(
                f"the name server {self._server} takes no update: {type(error).__name__}",
                hint="check address and port, and that TCP is open",
            ) from error
        if (code := answer.rcode()) != dns.rcode.NOERROR:
            raise ChallengeFailed(
                f"the name server {self._server} refuses to change {name}: {code.name}",
                hint="let this key write TXT records there: `update-policy` in named.conf",
            )


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

"""What an order asks for: DNS names, wildcards and IP addresses (RFC 8555 9.7.7, RFC 8738)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from cryptography import x509

from certshelf.errors import ConfigError
from certshelf.names import HostName

MAX_IDENTIFIERS = 100


@dataclass(frozen=True, slots=True, order=True)
class Identifier:
    """One identifier: `dns` with lower-case A-labels (`*.` kept), or `ip` in its shortest form."""

    type: Literal["dns", "ip"]
    value: str

    @staticmethod
    def parse(text: str) -> Identifier:
        """Read what a user typed: a host name in any form, or an address, `[::1]` too.

        Raises NameInvalid when it is neither: an address of one machine's link (`fe80::1%eth0`) is
        none.
        """
        try:
            return Identifier("ip", str(ipaddress.ip_address(text.strip("[]").replace("%", " "))))
        except ValueError:
            return Identifier("dns", HostName.parse(text).ascii)

    @property
    def is_wildcard(self) -> bool:
        """Whether only a DNS challenge can prove it."""
        return self.value.startswith("*.")

    @property
    def base(self) -> str:
        """The value without `*.`: the name that challenges are about."""
        return self.value.removeprefix("*.")

    def as_json(self) -> dict[str, str]:
        """The identifier as orders carry it."""
        return {"type": self.type, "value": self.value}

    def as_san(self) -> x509.GeneralName:
        """The identifier as a subject alternative name."""
        if self.type == "ip":
            return x509.IPAddress(ipaddress.ip_address(self.value))
        return x509.DNSName(self.value)

    def __str__(self) -> str:
        return self.value


def identifiers(names: Iterable[str]) -> tuple[Identifier, ...]:
    """The identifiers of one order, each once, in the order given.

    Raises NameInvalid for what is no name, ConfigError for none or more than 100 of them (the
    most that any public CA takes in one certificate).
    """
    found = tuple(dict.fromkeys(Identifier.parse(name) for name in names))
    if not 0 < len(found) <= MAX_IDENTIFIERS:
        raise ConfigError(
            f"a certificate with {len(found)} names: an order takes 1 to {MAX_IDENTIFIERS}",
            hint="split the names over several certificates",
        )
    return found

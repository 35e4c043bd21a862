"""What one IIS server must become, and which of its bindings move to the central store.

Pure: the bindings that were read, the names that the shelf holds, and out comes a plan. scripts.py
writes it as PowerShell.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from certshelf.errors import ConfigError, NameInvalid
from certshelf.farm import Binding
from certshelf.names import HostName

DEFAULT_POLLING_SECONDS = 300
SNI = 1
CENTRAL = 2
# sslFlags above these are not combined with CCS: the same is set per port in http.sys.
# Source: BINDING (learn.microsoft.com, system.applicationHost/.../binding).
SERVER_LEVEL_FLAGS = {
    4: "disablehttp2=enable",
    8: "disableocspstapling=enable",
    16: "disablequic=enable",
    32: "disabletls13=enable",
    64: "disablelegacytls=enable",
}


@dataclass(frozen=True, slots=True)
class SiteBinding:
    """A binding that the server shall have: host name, all addresses, SNI, central store."""

    site: str
    host: HostName
    port: int = 443


@dataclass(frozen=True, slots=True)
class Conversion:
    """A binding with a certificate of its own that shall use the store instead."""

    site: str
    host: HostName
    address: str
    port: int
    flags: int


@dataclass(frozen=True, slots=True)
class Left:
    """A binding that is not touched, and why."""

    binding: Binding
    why: str


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """Everything that the script of one server says.

    store: the shelf as that server sees it (UNC or a local path). reader: the account that IIS
    reads it with; it needs read and list only. polling_seconds: how often IIS looks again.
    """

    server: str
    store: str
    reader: str
    polling_seconds: int = DEFAULT_POLLING_SECONDS
    ports: tuple[int, ...] = (443,)
    bindings: tuple[SiteBinding, ...] = ()
    conversions: tuple[Conversion, ...] = ()
    left: tuple[Left, ...] = field(default=())

    def __post_init__(self) -> None:
        _check_store(self.store)
        if not self.reader.strip():
            raise ConfigError(
                "no account is named that IIS reads the shelf with",
                hint="name one with read and list rights only, as DOMAIN\\account",
            )
        if not 1 <= self.polling_seconds <= 86_400:
            raise ConfigError(f"a polling interval of {self.polling_seconds} s is not 1 to 86400")
        if any(not 1 <= port <= 65_535 for port in self.ports):
            raise ConfigError("a port is 1 to 65535")


def plan(
    server: str,
    store: str,
    reader: str,
    *,
    found: Iterable[Binding] = (),
    wanted: Iterable[SiteBinding] = (),
    on_shelf: Collection[HostName] = (),
    polling_seconds: int = DEFAULT_POLLING_SECONDS,
) -> ServerPlan:
    """Decide for every binding that was found: convert it, or leave it and say why.

    found: the https bindings of the server now. wanted: bindings to add. on_shelf: the names that
    have a file; a binding without one is left alone, since it would go dark.
    """
    conversions, left = [], []
    for binding in found:
        verdict = _judge(binding, on_shelf)
        if isinstance(verdict, Conversion):
            conversions.append(verdict)
        elif verdict:
            left.append(Left(binding, verdict))
    bindings = tuple(dict.fromkeys(wanted))
    ports = {b.port for b in bindings} | {c.port for c in conversions}
    return ServerPlan(
        server=server,
        store=store,
        reader=reader,
        polling_seconds=polling_seconds,
        ports=tuple(sorted(ports)) or (443,),
        bindings=bindings,
        conversions=tuple(conversions),
        left=tuple(left),
    )


def _judge(binding: Binding, on_shelf: Collection[HostName]) -> Conversion | str:
    """A conversion, the reason to leave it alone, or "" when there is nothing to do."""
    if binding.flags & CENTRAL:
        return ""
    if not binding.host:
        return "it has no host name, and the central store finds files by host name"
    extra = [option for bit, option in SERVER_LEVEL_FLAGS.items() if binding.flags & bit]
    if extra:
        return (
            f"sslFlags {binding.flags} does not go with the central store; "
            f"set it for the port: netsh http add sslcert ccs={binding.port} ... {' '.join(extra)}"
        )
    try:
        host = HostName.parse(binding.host)
    except NameInvalid as error:
        return str(error)
    if not any(candidate in on_shelf for candidate in host.candidates()):
        return "the shelf holds no file for it"
    return Conversion(binding.site, host, binding.address, binding.port, binding.flags)


def _check_store(store: str) -> None:
    """Refuse what IIS cannot take as CertStoreLocation."""
    unc = store.startswith("\\\\") and len(store[2:].split("\\")) >= 2 and "/" not in store
    local = len(store) > 2 and store[0].isalpha() and store[1:3] == ":\\"
    if not (unc or local) or any(c in '*?"<>|' for c in store[2:]):
        raise ConfigError(
            f"IIS cannot read a store at {store!r}",
            hint=r"give it as the server sees it: \\server\share\folder or D:\folder",
        )

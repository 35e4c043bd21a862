"""What `configure` needs to know of this machine, and the settings every server's text shares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from certshelf.errors import ConfigError
from certshelf.names import HostName

RUN = Path("/run/certshelf")


@dataclass(frozen=True, slots=True)
class Setup:
    """Paths and addresses that a server's configuration names.

    mirror: the folder of --mirror. http_socket, sds_socket: of --http and --envoy. http_url: the
    loopback endpoint with its secret path. listen, upstream: `host:port` or `:port`.
    hosts: the names on the shelf now; only plain nginx, Apache and Traefik need them.
    """

    mirror: Path = RUN / "mirror"
    http_socket: Path = RUN / "http.sock"
    sds_socket: Path = RUN / "sds.sock"
    http_url: str = ""
    haproxy_socket: Path = Path("/run/haproxy/admin.sock")
    listen: str = ":443"
    upstream: str = "127.0.0.1:8080"
    hosts: tuple[HostName, ...] = ()

    def __post_init__(self) -> None:
        for path in (self.mirror, self.http_socket, self.sds_socket, self.haproxy_socket):
            if not str(path).isprintable() or any(c in "\"'\\${}; " for c in str(path)):
                raise ConfigError(f"a path that no server's configuration can hold: {str(path)!r}")
        for address in (self.listen, self.upstream):
            split_address(address)

    @property
    def wildcards(self) -> tuple[HostName, ...]:
        """The wildcards among hosts, sorted."""
        return tuple(sorted(host for host in self.hosts if host.is_wildcard))


def split_address(address: str, *, any_port: bool = False) -> tuple[str, int]:
    """Host ("" for all) and port of `host:port`, `[v6]:port` or `:port`; ConfigError otherwise.

    any_port: port 0 may be asked for: the system chooses one.
    """
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isdecimal() or not (any_port or int(port)) or int(port) > 65535:
        raise ConfigError(f"no address: {address!r}", hint="write it as 127.0.0.1:8443 or :443")
    if not all(c.isascii() and (c.isalnum() or c in ".-:") for c in host):
        raise ConfigError(f"no address: {address!r}")
    return host, int(port)


def joined(host: str, port: int) -> str:
    """`host:port` again, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

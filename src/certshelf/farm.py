"""The farm's servers as small values: a member, and what it listens for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What answers TLS on a member."""

    IIS = "iis"
    NGINX = "nginx"
    HAPROXY = "haproxy"
    ENVOY = "envoy"
    CADDY = "caddy"
    TRAEFIK = "traefik"
    APACHE = "apache"
    PYTHON = "python"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Member:
    """One server of the farm.

    host, port: where to connect ("" and 0 when it is only declared). windows: "2016", "2019", ...
    or "". group: the reader scope that it belongs to, "" for all. bindings: a configuration file
    to read what it listens for, "" when unknown.
    """

    name: str
    kind: Kind
    host: str = ""
    port: int = 0
    windows: str = ""
    group: str = ""
    bindings: str = ""


@dataclass(frozen=True, slots=True)
class Binding:
    """What a server listens for.

    host: as configured, "" for any. address: "*" for all. flags: IIS's sslFlags, 0 elsewhere
    (BINDING, learn.microsoft.com: 1 SNI, 2 central store, ...). certificate: thumbprint or path
    that the configuration names, "" when it comes from the shelf. site: the site's own name.
    """

    site: str
    host: str
    address: str
    port: int
    flags: int = 0
    certificate: str = ""
    source: str = ""

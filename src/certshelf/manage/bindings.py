"""Which reader reads which configuration: one table of bindings for every kind of server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from certshelf.doctor.bindings import apache, caddy, envoy, haproxy, nginx, python, traefik
from certshelf.doctor.bindings.base import Reading, follow_from, is_ours, read_text
from certshelf.doctor.bound import host_of
from certshelf.errors import ConfigError
from certshelf.farm import Binding, Kind, Member
from certshelf.iis import applicationhost
from certshelf.names import HostName

READABLE = tuple(kind for kind in Kind if kind is not Kind.OTHER)


def read_bindings(path: Path, kind: Kind | None = None) -> Reading:
    """The TLS bindings of a configuration file; kind None: told from its name and first bytes.

    Includes are followed from the file's folder. Raises ConfigError for what cannot be read.
    """
    kind = kind or guess_kind(path)
    if kind is Kind.IIS:
        data, source = _bytes(path), str(path)
        folders = tuple(applicationhost.folders(data, source))
        return Reading(tuple(applicationhost.read(data, source)), folders=folders)
    reading = _read_text(path, kind)
    return replace(reading, bindings=tuple(map(_from_mirror, reading.bindings)))


def _from_mirror(binding: Binding) -> Binding:
    """A certificate in a reader's folder comes from the shelf: /run/certshelf/mirror, ..."""
    return replace(binding, certificate="") if is_ours(binding.certificate) else binding


def _read_text(path: Path, kind: Kind) -> Reading:
    text, source, follow = read_text(path), str(path), follow_from(path.parent)
    if kind is Kind.NGINX:
        return nginx.read(text, source, follow)
    if kind is Kind.HAPROXY:
        return haproxy.read(text, source, follow)
    if kind is Kind.APACHE:
        return apache.read(text, source, follow)
    if kind is Kind.CADDY:
        return caddy.read(text, source)
    if kind is Kind.ENVOY:
        return envoy.read(text, source)
    if kind is Kind.TRAEFIK:
        return traefik.read(text, source, follow)
    if kind is Kind.PYTHON:
        return python.read(text, source, follow)
    raise ConfigError(
        f"the configuration of {kind.value} cannot be read",
        hint="these can: " + ", ".join(k.value for k in READABLE),
    )


def hosts_by_site(reading: Reading) -> dict[str, tuple[HostName, ...]]:
    """The host names of each site, for one managed certificate a site.

    Left out: bindings for any name, and names that no shelf can hold.
    """
    sites: dict[str, dict[HostName, None]] = {}
    for binding in reading.bindings:
        host = host_of(binding)
        if host is not None:
            sites.setdefault(binding.site or host.ascii, {})[host] = None
    return {site: tuple(hosts) for site, hosts in sites.items()}


def bindings_of(member: Member) -> Reading | None:
    """What a member listens for; None when no file is declared for it."""
    return read_bindings(Path(member.bindings), member.kind) if member.bindings else None


def guess_kind(path: Path) -> Kind:
    """The kind of server whose configuration this is; ConfigError when that is not clear."""
    head = _bytes(path)[:4096].decode("utf-8", "replace").replace("\0", "")
    if "<configuration" in head or head.lstrip("\ufeff").startswith("<?xml"):
        return Kind.IIS
    name = path.name.lower()
    for kind, words in _NAMES.items():
        if any(word in name for word in words):
            return kind
    for kind, words in _CONTENTS.items():
        if any(word in head for word in words):
            return kind
    raise ConfigError(
        f"it is not clear what kind of server {path} belongs to",
        hint="say it with --kind: " + ", ".join(k.value for k in READABLE),
    )


_NAMES = {
    Kind.NGINX: ("nginx",),
    Kind.HAPROXY: ("haproxy",),
    Kind.CADDY: ("caddy",),
    Kind.APACHE: ("httpd", "apache"),
    Kind.ENVOY: ("envoy",),
    Kind.TRAEFIK: ("traefik",),
    Kind.PYTHON: python.PROGRAMS,
}
_CONTENTS = {
    Kind.APACHE: ("<VirtualHost", "ServerName "),
    Kind.ENVOY: ("static_resources",),
    Kind.CADDY: ('"apps"',),
    Kind.HAPROXY: ("\nfrontend ", "\nlisten ", "\ndefaults"),
    Kind.NGINX: ("server {", "http {", "server{"),
    Kind.TRAEFIK: ("entryPoints", "certFile", "routers"),
    Kind.PYTHON: python.PROGRAMS,
}


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(applicationhost.MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error

"""Reading what Traefik listens for: entry points of its static file, routers of its dynamic ones.

A static file leads to the dynamic files of its file provider; a dynamic file alone is read too,
with port 443 for entry points that are not in it. Names are those of the routers' rules, or else
of their `tls.domains`. Limits: routers of other providers (labels, Kubernetes) and HostRegexp are
noted, templates are not computed, a folder is read one level deep.
Source: doc.traefik.io, EntryPoints, HTTP and TCP routers, TLS, file provider.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from certshelf.doctor.bindings.base import (
    Follow,
    Reading,
    follow_nothing,
    is_ours,
    split_address,
)
from certshelf.doctor.bindings.documents import items, load, mapping
from certshelf.errors import ConfigError
from certshelf.farm import Binding

OWN_DEFAULT = "default"
"""Stands for the certificate that Traefik makes for itself."""
_DEFAULT_PORT = 443
_ENDINGS = ("*.yml", "*.yaml", "*.toml")
_HOSTS = re.compile(r"(!\s*)?\b(Host|HostSNI)\s*\(([^()]*)\)", re.IGNORECASE)
_REGEXP = re.compile(r"\bHost(?:SNI)?Regexp\s*\(", re.IGNORECASE)
_QUOTED = re.compile(r"`([^`]*)`|\"([^\"]*)\"|'([^']*)'")


def read(text: str, source: str = "traefik.yml", follow: Follow = follow_nothing) -> Reading:
    """One binding for each TLS entry point and each host name of its routers."""
    static = mapping(load(text, source))
    notes: list[str] = []
    documents = [static, *_provided(static, follow, notes)]
    points = _entry_points(static, notes)
    routers = [router for document in documents for router in _routers(document, notes)]
    if not points and routers:
        notes.append("entry points are in the static file; port 443 is taken")
    files = _Certificates(documents)
    bindings = [b for router in routers for b in _bindings(router, points, files, source)]
    taken = {(b.address, b.port) for b in bindings}
    for point in points:
        if point.tls is not None and (point.address, point.port) not in taken:
            certificate = _resolver(point.tls) or files.of("")
            where = (point.address, point.port)
            bindings.append(Binding(point.name, "", *where, certificate=certificate, source=source))
    return Reading(tuple(dict.fromkeys(bindings)), tuple(dict.fromkeys(notes)))


@dataclass(frozen=True, slots=True)
class _EntryPoint:
    """A TCP address. tls: what it gives routers that say nothing of TLS; None for plain HTTP."""

    name: str
    address: str
    port: int
    tls: dict[str, Any] | None
    is_default: bool


@dataclass(frozen=True, slots=True)
class _Router:
    """tls: its own table, None when the entry point decides. points: () for the default ones."""

    name: str
    hosts: tuple[str, ...]
    points: tuple[str, ...]
    tls: dict[str, Any] | None
    is_http: bool


def _entry_points(static: dict[str, Any], notes: list[str]) -> list[_EntryPoint]:
    points = []
    for name, value in mapping(_get(static, "entryPoints")).items():
        point = mapping(value)
        address = str(_get(point, "address") or "")
        if address.endswith("/udp"):
            continue
        where = split_address(address.removesuffix("/tcp"))
        if where is None:
            notes.append(f"entry point {name} has no address with one port; not read")
            continue
        tls = _tls(mapping(_get(point, "http")))
        points.append(_EntryPoint(str(name), *where, tls, _get(point, "asDefault") is True))
    return points


def _provided(static: dict[str, Any], follow: Follow, notes: list[str]) -> Iterator[dict[str, Any]]:
    """The dynamic files of the file provider; other providers become notes."""
    providers = mapping(_get(static, "providers"))
    for name in map(str, providers):
        if name.lower() not in ("file", "providersthrottleduration"):
            notes.append(f"routers that Traefik gets from {name} are not in this file")
    where = mapping(_get(providers, "file"))
    file, folder = _get(where, "filename"), _get(where, "directory")
    patterns = [str(file)] if file else []
    if folder and not file:
        deep = [f"*/{ending}" for ending in _ENDINGS]
        patterns = [f"{folder}/{name}" for name in (*_ENDINGS, *deep)]
    found = [pair for pattern in patterns for pair in follow(pattern)]
    if patterns and not found:
        notes.append(f"no dynamic file is here: {file or folder}")
    for path, text in found:
        try:
            yield mapping(load(text, path))
        except ConfigError as error:
            reason = "it is a template" if "{{" in text else str(error)
            notes.append(f"{path} is not read: {reason}")


def _routers(document: dict[str, Any], notes: list[str]) -> Iterator[_Router]:
    for protocol in ("http", "tcp"):
        for name, value in mapping(_get(mapping(_get(document, protocol)), "routers")).items():
            router = mapping(value)
            rule, tls = str(_get(router, "rule") or ""), _tls(router)
            if protocol == "tcp" and tls is None:
                continue
            if _get(tls or {}, "passthrough") is True:
                notes.append(f"router {name} passes TLS on; what is behind it is not read")
                continue
            if _REGEXP.search(rule):
                notes.append(f"router {name} has a pattern of names; not computed")
            hosts = tuple(_hosts(rule)) or tuple(_domains(tls or {})) or ("",)
            points = tuple(map(str, items(_get(router, "entryPoints"))))
            yield _Router(str(name), hosts, points, tls, protocol == "http")


def _hosts(rule: str) -> Iterator[str]:
    for negated, _, arguments in _HOSTS.findall(rule):
        for quoted in _QUOTED.findall(arguments):
            host = next(filter(None, quoted), "")
            if host and not negated:
                yield "" if host == "*" else host


def _domains(tls: dict[str, Any]) -> Iterator[str]:
    for value in items(_get(tls, "domains")):
        domain = mapping(value)
        yield from filter(None, [str(_get(domain, "main") or "")])
        yield from map(str, items(_get(domain, "sans")))


def _bindings(
    router: _Router, points: list[_EntryPoint], files: _Certificates, source: str
) -> Iterator[Binding]:
    for point in _points_of(router, points):
        tls = router.tls if router.tls is not None else point.tls if router.is_http else None
        if tls is None:
            continue
        inherited = [h for h in _domains(tls) if router.hosts == ("",)]
        for host in inherited or router.hosts:
            certificate = _resolver(tls) or files.of(host)
            where = (point.address, point.port)
            yield Binding(router.name, host, *where, certificate=certificate, source=source)


def _points_of(router: _Router, points: list[_EntryPoint]) -> list[_EntryPoint]:
    if not points:
        return [_EntryPoint("", "*", _DEFAULT_PORT, None, True)]
    if router.points:
        return [point for point in points if point.name in router.points]
    return [point for point in points if point.is_default] or points


class _Certificates:
    """The files of `tls.certificates`. Traefik chooses by the names inside them.

    Those are not opened: a file of a reader's folder stands for all of them, then one that is
    called like the host, then the default certificate, then the first.
    """

    def __init__(self, documents: list[dict[str, Any]]) -> None:
        tables = [mapping(_get(document, "tls")) for document in documents]
        listed = [
            _get(mapping(c), "certFile") for t in tables for c in items(_get(t, "certificates"))
        ]
        self._files = [str(file) for file in listed if file]
        self._ours = next(filter(is_ours, self._files), "")
        stores = [mapping(_get(mapping(_get(table, "stores")), "default")) for table in tables]
        defaults = [_get(mapping(_get(s, "defaultCertificate")), "certFile") for s in stores]
        self._default = next((str(file) for file in defaults if file), "")

    def of(self, host: str) -> str:
        """The file that probably answers; OWN_DEFAULT when there is none at all."""
        named = next((f for f in self._files if host and PurePath(f).stem == host), "")
        first = self._files[0] if self._files else OWN_DEFAULT
        return self._ours or named or self._default or first


def _resolver(tls: dict[str, Any]) -> str:
    """The certificate resolver that gets one by itself, as `resolver NAME`; "" for none."""
    name = _get(tls, "certResolver")
    return f"resolver {name}" if name else ""


def _tls(holder: dict[str, Any]) -> dict[str, Any] | None:
    """The table `tls`; it may be there and empty, or be `true`."""
    for key, value in holder.items():
        if str(key).lower() == "tls" and value is not False:
            return mapping(value)
    return None


def _get(holder: dict[str, Any], key: str) -> Any:
    """A value whatever the case of its key, as Traefik reads its files."""
    if key in holder:
        return holder[key]
    wanted = key.lower()
    return next((v for k, v in holder.items() if str(k).lower() == wanted), None)

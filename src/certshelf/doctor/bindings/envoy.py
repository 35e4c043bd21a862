"""Reading what Envoy listens for: the static listeners of a bootstrap in JSON or YAML.

Limits: listeners that come by LDS are noted, not asked for; YAML needs the extra `bindings`.
Source: envoyproxy.io, config.bootstrap.v3.Bootstrap and config.listener.v3.Listener.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from certshelf.doctor.bindings.base import Reading
from certshelf.doctor.bindings.documents import items, load, mapping
from certshelf.farm import Binding

_TLS = "envoy.transport_sockets.tls"


def read(text: str, source: str = "envoy.yaml") -> Reading:
    """One binding for each TLS filter chain and each of its server names."""
    document = mapping(load(text, source))
    bindings: list[Binding] = []
    notes: list[str] = []
    if "lds_config" in mapping(document.get("dynamic_resources")):
        notes.append("listeners that Envoy gets by LDS are not in this file")
    for listener in items(mapping(document.get("static_resources")).get("listeners")):
        bindings += _listener(mapping(listener), source, notes)
    return Reading(tuple(bindings), tuple(notes))


def _listener(listener: dict[str, Any], source: str, notes: list[str]) -> Iterator[Binding]:
    socket = mapping(mapping(listener.get("address")).get("socket_address"))
    address, port = str(socket.get("address", "")), socket.get("port_value")
    name = str(listener.get("name", ""))
    if not isinstance(port, int):
        notes.append(f"listener {name or '?'} has no TCP port; not read")
        return
    shown = "*" if address in ("0.0.0.0", "::", "") else address  # noqa: S104
    for chain in items(listener.get("filter_chains")):
        socket_config = mapping(mapping(chain).get("transport_socket"))
        if socket_config.get("name") != _TLS:
            continue
        match = mapping(mapping(chain).get("filter_chain_match"))
        certificate = _certificate(mapping(socket_config.get("typed_config")))
        for host in items(match.get("server_names")) or [""]:
            yield Binding(name, str(host), shown, port, certificate=certificate, source=source)


def _certificate(config: dict[str, Any]) -> str:
    """The file of the first certificate; "" when it comes by SDS, as from the shelf."""
    common = mapping(config.get("common_tls_context"))
    for item in items(common.get("tls_certificates")):
        chain = mapping(mapping(item).get("certificate_chain"))
        return str(chain.get("filename", "inline"))
    return ""

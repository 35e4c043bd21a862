"""Reading what Envoy listens for: the static listeners of a bootstrap in JSON or YAML.

Limits: listeners that come by LDS are noted, not asked for; YAML needs the extra `bindings`.
Source: envoyproxy.io, config.bootstrap.v3.Bootstrap and config.listener.v3.Listener.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from certshelf.doctor.bindings.base import Reading
from certshelf.errors import ConfigError
from certshelf.farm import Binding

_TLS = "envoy.transport_sockets.tls"


def read(text: str, source: str = "envoy.yaml") -> Reading:
    """One binding for each TLS filter chain and each of its server names."""
    document = _mapping(_load(text, source))
    bindings: list[Binding] = []
    notes: list[str] = []
    if "lds_config" in _mapping(document.get("dynamic_resources")):
        notes.append("listeners that Envoy gets by LDS are not in this file")
    for listener in _list(_mapping(document.get("static_resources")).get("listeners")):
        bindings += _listener(_mapping(listener), source, notes)
    return Reading(tuple(bindings), tuple(notes))


def _listener(listener: dict[str, Any], source: str, notes: list[str]) -> Iterator[Binding]:
    socket = _mapping(_mapping(listener.get("address")).get("socket_address"))
    address, port = str(socket.get("address", "")), socket.get("port_value")
    name = str(listener.get("name", ""))
    if not isinstance(port, int):
        notes.append(f"listener {name or '?'} has no TCP port; not read")
        return
    shown = "*" if address in ("0.0.0.0", "::", "") else address  # noqa: S104
    for chain in _list(listener.get("filter_chains")):
        socket_config = _mapping(_mapping(chain).get("transport_socket"))
        if socket_config.get("name") != _TLS:
            continue
        match = _mapping(_mapping(chain).get("filter_chain_match"))
        certificate = _certificate(_mapping(socket_config.get("typed_config")))
        for host in _list(match.get("server_names")) or [""]:
            yield Binding(name, str(host), shown, port, certificate=certificate, source=source)


def _certificate(config: dict[str, Any]) -> str:
    """The file of the first certificate; "" when it comes by SDS, as from the shelf."""
    common = _mapping(config.get("common_tls_context"))
    for item in _list(common.get("tls_certificates")):
        chain = _mapping(_mapping(item).get("certificate_chain"))
        return str(chain.get("filename", "inline"))
    return ""


def _load(text: str, source: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        pass  # YAML, then
    except RecursionError as error:
        raise ConfigError(f"{source} is nested too deep") from error
    try:
        yaml: Any = import_module("yaml")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{source} is no JSON, and YAML needs the extra `bindings`",
            hint="pip install 'certshelf[bindings]', or give the configuration as JSON",
        ) from error
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{source} is neither JSON nor YAML") from error


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []

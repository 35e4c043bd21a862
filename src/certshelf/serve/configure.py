"""configure(): the text that makes a web server take its certificates from the reader."""

from __future__ import annotations

from collections.abc import Callable

from certshelf.errors import ConfigError
from certshelf.serve import apache, caddy, envoy_config, haproxy, nginx, traefik
from certshelf.serve.setup import Setup

TEXTS: dict[str, Callable[[Setup], str]] = {
    "apache": apache.macro,
    "caddy": caddy.caddyfile,
    "envoy": envoy_config.bootstrap,
    "haproxy": haproxy.haproxy_cfg,
    "nginx": nginx.plain,
    "nginx-lua": nginx.lua,
    "traefik": traefik.static_and_routes,
}


def configure(kind: str, setup: Setup) -> str:
    """The whole configuration for one kind of server; ConfigError for a kind that is not there."""
    text = TEXTS.get(kind)
    if text is None:
        raise ConfigError(f"no server of the kind {kind!r}", hint=f"one of: {', '.join(TEXTS)}")
    return text(setup)

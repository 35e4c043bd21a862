"""What Caddy needs: to ask the reader's HTTP endpoint at each handshake, and nobody else.

Sources: caddyserver.com, Caddyfile `tls` directive, `get_certificate http`; seen with Caddy 2.11:
it does not cache, fails while the endpoint is down, and asks an ACME CA when the endpoint says 204.
"""

from __future__ import annotations

from certshelf.errors import ConfigError
from certshelf.serve.setup import Setup, split_address

DEAD_CA = "https://127.0.0.1:9/directory"
"""A belt besides the 404: no name that a client chose is ever asked for at a real CA."""


def caddyfile(setup: Setup) -> str:
    """A whole Caddyfile: every name that the shelf has, by proxy to the upstream."""
    if not setup.http_url:
        raise ConfigError(
            "Caddy asks over loopback under a secret path, and that path is not known",
            hint="run the reader with --http 127.0.0.1:PORT, and name its path file and address",
        )
    host, port = split_address(setup.listen)
    bind = f"\n    bind {host}" if host else ""
    return f"""\
# The address below holds the reader's secret path: keep this file at 0600.
{{
    admin off
    auto_https disable_redirects
    acme_ca {DEAD_CA}
}}
https://:{port} {{{bind}
    tls {{
        get_certificate http {setup.http_url}/cert
    }}
    reverse_proxy {setup.upstream}
}}
"""

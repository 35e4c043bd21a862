"""What nginx needs: a server block that finds each name's certificate in the mirror, or by Lua.

The SNI name comes from the client and never reaches a path as it is: a map lets through only what
looks like a host name, and gives a fixed name that is not there for all else. nginx looks up map
patterns in the order of the file.
Sources: nginx.org ngx_http_map_module; ngx_http_ssl_module `ssl_certificate` (variables since
1.15.9) and `ssl_certificate_cache` (1.27.4); lua-nginx-module `ssl_certificate_by_lua_block`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from certshelf.names import SUFFIX, HostName
from certshelf.serve.setup import Setup, split_address

MISSING = "_unknown"
LUA_MODULE = Path(__file__).parent / "lua" / "certshelf.lua"
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"


def plain(setup: Setup) -> str:
    """nginx with a variable: every nginx since 1.15.9, and the cache where it has one."""
    lines = "\n".join(f"    {line}" for line in _map_lines(setup))
    return f"""\
# Inside http {{ }}. A certificate that changes needs no reload, nor does a new name.
# A new wildcard, and a new name below a wildcard, need this file made again and a reload.
map $ssl_server_name $certshelf_name {{
{lines}
}}
server {{
    listen {_listen(setup)} ssl default_server;
    server_name _;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate     {setup.mirror}/$certshelf_name.pem;
    ssl_certificate_key {setup.mirror}/$certshelf_name.pem;
    # nginx 1.27.4 and later; without it each handshake parses key and certificate again:
    # ssl_certificate_cache max=20000 valid=1s inactive=1h;
{_location(setup)}
}}
"""


def lua(setup: Setup) -> str:
    """nginx with libnginx-mod-http-lua: new names and wildcards, and no cost per handshake."""
    return f"""\
# Inside http {{ }}; needs lua-nginx-module with lua-resty-core (Debian: libnginx-mod-http-lua).
# The reader runs with: --http unix:{setup.http_socket} --mirror {setup.mirror} --mirror-lazily
init_by_lua_block {{
    certshelf = assert(loadfile("{LUA_MODULE}"))()
    certshelf.setup("{setup.mirror}", "{setup.http_socket}")
}}
server {{
    listen {_listen(setup)} ssl default_server;
    server_name _;
    ssl_protocols TLSv1.2 TLSv1.3;
    # nginx asks for some certificate when it starts; Lua replaces it at each handshake.
    ssl_certificate     {setup.mirror}/.placeholder.pem;
    ssl_certificate_key {setup.mirror}/.placeholder.pem;
    ssl_certificate_by_lua_block {{ certshelf.serve() }}
{_location(setup)}
}}
"""


def _map_lines(setup: Setup) -> Iterator[str]:
    """Names below a wildcard, then wildcards, then any host name: the lookup rule's own order."""
    yield f"default {MISSING};"
    names = set(setup.hosts)
    for host in sorted(names):
        if host.wildcard() in names:
            yield f'"~*^{re.escape(host.ascii)}$" {_stem(host)};'
    for host in setup.wildcards:
        yield f'"~*^{_LABEL}{re.escape(host.ascii[1:])}$" {_stem(host)};'
    yield f'"~^(?<certshelf_host>(?:{_LABEL}\\.)+{_LABEL})$" $certshelf_host;'


def _stem(host: HostName) -> str:
    return host.file_name()[: -len(SUFFIX)]


def _listen(setup: Setup) -> str:
    host, port = split_address(setup.listen)
    if not host:
        return str(port)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _location(setup: Setup) -> str:
    return f"    location / {{ proxy_pass http://{setup.upstream}; }}"

"""Reading what Apache httpd listens for: virtual hosts with `SSLEngine on`.

Limits: `<IfModule>`, `<IfDefine>` and `<If>` are read as if true; `Define` variables, macros
(mod_macro) and mod_md's own certificates are noted, not computed.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field

from certshelf.doctor.bindings.base import (
    MAX_DEPTH,
    Follow,
    Reading,
    follow_nothing,
    split_address,
)
from certshelf.errors import ConfigError
from certshelf.farm import Binding

_OPEN = re.compile(r"<\s*VirtualHost\b([^>]*)>", re.IGNORECASE)
_CLOSE = re.compile(r"<\s*/\s*VirtualHost\s*>", re.IGNORECASE)


@dataclass(slots=True)
class _Host:
    """One `<VirtualHost>` while it is read."""

    addresses: list[str]
    source: str
    names: list[str] = field(default_factory=list)
    certificate: str = ""
    ssl: bool = False


@dataclass(slots=True)
class _Reader:
    follow: Follow
    host: _Host | None = None
    bindings: list[Binding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)


def read(text: str, source: str = "httpd.conf", follow: Follow = follow_nothing) -> Reading:
    """One binding for each address and name of each virtual host with TLS."""
    reader = _Reader(follow)
    _read(text, source, reader, 0)
    if reader.host is not None:
        raise ConfigError(f"{source} ends inside a <VirtualHost>")
    notes, folders = dict.fromkeys(reader.notes), dict.fromkeys(reader.folders)
    return Reading(tuple(reader.bindings), tuple(notes), tuple(folders))


def _read(text: str, source: str, reader: _Reader, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ConfigError("the includes of this configuration never end")
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        line = line.strip()
        opened = _OPEN.match(line)
        if opened:
            reader.host = _Host(opened[1].split(), source)
        elif _CLOSE.match(line) and reader.host is not None:
            _close(reader.host, reader)
            reader.host = None
        elif line and not line.startswith(("#", "<")):
            _directive(line, reader, depth)


def _directive(line: str, reader: _Reader, depth: int) -> None:
    try:
        words = shlex.split(line)
    except ValueError:
        return  # a regular expression with a lone quote: never one of ours
    if len(words) < 2:
        return
    name, host = words[0].lower(), reader.host
    if name in ("include", "includeoptional"):
        included = list(reader.follow(words[1]))
        if not included and name == "include":
            reader.notes.append(f"Include {words[1]} is not here; not read")
        for path, text in included:
            _read(text, path, reader, depth + 1)
    elif name in ("documentroot", "alias") and "${" not in words[-1]:
        reader.folders.append(words[-1])
    elif name == "use":
        reader.notes.append(f"macro {words[1]} is not expanded")
    elif host is not None and name in ("servername", "serveralias"):
        host.names += words[1:2] if name == "servername" else words[1:]
    elif host is not None and name == "sslengine":
        host.ssl = words[1].lower() == "on"
    elif host is not None and name == "sslcertificatefile":
        host.certificate = host.certificate or words[1]


def _close(host: _Host, reader: _Reader) -> None:
    if not host.ssl:
        return
    names = [_name(name) for name in host.names] or [""]
    for address in host.addresses:
        where = split_address(address.replace("_default_", "*"), 443)
        if where is None or "${" in address:
            reader.notes.append(f"<VirtualHost {address}> has no port that can be read")
            continue
        for name in names:
            if "${" in name:
                reader.notes.append(f"the name {name} has a variable; not computed")
                continue
            reader.bindings.append(
                Binding(names[0], name, *where, certificate=host.certificate, source=host.source)
            )


def _name(text: str) -> str:
    """ServerName may carry a scheme and a port: `https://www.example.com:443`."""
    text = text.partition("://")[2] or text
    return text if text.startswith("[") else text.partition(":")[0]

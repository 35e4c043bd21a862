"""Reading what Caddy listens for: its JSON configuration, or a Caddyfile's site addresses.

Limits: in a Caddyfile, snippets and `import` are noted, not expanded, and so are environment
placeholders; `caddy adapt` gives the JSON, which is read exactly. certificate is `automatic`
where Caddy gets one by itself, "" where it asks a manager (`get_certificate`): the shelf.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from certshelf.doctor.bindings.base import Reading, split_address
from certshelf.doctor.bindings.documents import items, mapping
from certshelf.errors import ConfigError
from certshelf.farm import Binding

AUTOMATIC = "automatic"
_MAX_DEPTH = 12


def read(text: str, source: str = "Caddyfile") -> Reading:
    """One binding for each TLS address and host name."""
    if text.lstrip().startswith('{"') or source.endswith(".json"):
        return _read_json(text, source)
    return _Caddyfile(text, source).read()


# --- JSON


def _read_json(text: str, source: str) -> Reading:
    try:
        apps = mapping(mapping(json.loads(text)).get("apps"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source} is no JSON") from error
    http = mapping(apps.get("http"))
    plain_port = http.get("http_port", 80)
    certificate = _json_certificate(mapping(apps.get("tls")))
    bindings: list[Binding] = []
    notes: list[str] = []
    for name, value in mapping(http.get("servers")).items():
        server = mapping(value)
        if mapping(server.get("automatic_https")).get("disable") and not server.get(
            "tls_connection_policies"
        ):
            continue
        hosts = list(dict.fromkeys(_hosts(server, 0))) or [""]
        for listen in items(server.get("listen")):
            where = split_address(str(listen).removeprefix("tcp/"))
            if where is None:
                notes.append(f"{listen} is no TCP address with one port; not read")
            elif where[1] != plain_port:
                bindings += [
                    Binding(name, host, *where, certificate=certificate, source=source)
                    for host in hosts
                ]
    return Reading(tuple(bindings), tuple(notes))


def _hosts(holder: dict[str, Any], depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        return
    for value in items(holder.get("routes")):
        route = mapping(value)
        for match in items(route.get("match")):
            yield from (str(host) for host in items(mapping(match).get("host")))
        for handler in items(route.get("handle")):
            if mapping(handler).get("handler") == "subroute":
                yield from _hosts(mapping(handler), depth + 1)


def _json_certificate(tls: dict[str, Any]) -> str:
    policies = items(mapping(tls.get("automation")).get("policies"))
    if any(mapping(policy).get("get_certificate") for policy in policies):
        return ""
    for item in items(mapping(tls.get("certificates")).get("load_files")):
        return str(mapping(item).get("certificate", AUTOMATIC))
    return AUTOMATIC


# --- Caddyfile

_TOKEN = re.compile(r'"((?:\\.|[^"\\])*)"|`([^`]*)`|((?:\\.|\S)+)')


class _Caddyfile:
    """One pass over the lines: site addresses at depth 0, `tls` inside."""

    def __init__(self, text: str, source: str) -> None:
        self.text, self.source = text, source
        self.bindings: list[Binding] = []
        self.notes: list[str] = []
        self.https_port = 443
        self.addresses: list[str] = []
        self.certificate = AUTOMATIC
        self.globals = False

    def read(self) -> Reading:
        depth = 0
        for line in self.text.splitlines():
            words = _words(line)
            if not words:
                continue
            opens = words[-1] == "{"
            if words == ["}"]:
                depth -= 1
                if depth < 0:
                    raise ConfigError(f"{self.source}: a block ends that did not begin")
                if depth == 0:
                    self._close()
            elif depth == 0:
                self._address_line(words[:-1] if opens else words, opens)
            else:
                self._inside(words, depth)
            depth += opens
        if depth:
            raise ConfigError(f"{self.source} ends inside a block")
        if self.addresses:
            self._close()  # a file of one site may go without braces
        return Reading(tuple(self.bindings), tuple(dict.fromkeys(self.notes)))

    def _address_line(self, words: list[str], opens: bool) -> None:
        if not words and opens:
            self.globals = True
        elif words and words[0] == "import":
            self.notes.append(f"import {' '.join(words[1:])} is not followed")
        elif self.addresses and not self.addresses[-1].endswith(",") and not opens:
            self._inside(words, 1)  # the one site without braces
        else:
            self.addresses += words

    def _inside(self, words: list[str], depth: int) -> None:
        if words[0] == "import":
            self.notes.append(f"import {' '.join(words[1:])} is not followed")
        elif self.globals and words[0] == "https_port" and len(words) == 2 and words[1].isdigit():
            self.https_port = int(words[1])
        elif depth == 1 and words[0] == "tls" and len(words) >= 3 and words[-1] != "{":
            self.certificate = words[1]
        elif words[0] == "get_certificate":
            self.certificate = ""

    def _close(self) -> None:
        addresses = [a.strip(",") for word in self.addresses for a in word.split(",")]
        for address in filter(None, addresses):
            self._site(address, next(filter(None, addresses)))
        self.addresses, self.certificate, self.globals = [], AUTOMATIC, False

    def _site(self, address: str, site: str) -> None:
        if address.startswith(("(", "&(")):
            return  # a snippet or a named route: no site
        if "{" in address:
            self.notes.append(f"the address {address} has a placeholder; not computed")
            return
        scheme, _, rest = address.rpartition("://")
        host, port = _host_and_port(rest.partition("/")[0])
        number = int(port) if port.isdigit() else self.https_port
        if scheme == "http" or port == "80" or not 0 < number < 65_536:
            return
        self.bindings.append(
            Binding(site, host, "*", number, certificate=self.certificate, source=self.source)
        )


def _host_and_port(text: str) -> tuple[str, str]:
    if text.startswith("["):
        inside, bracket, rest = text.partition("]")
        return inside + bracket, rest.removeprefix(":")
    host, _, port = text.partition(":")
    return host, port


def _words(line: str) -> list[str]:
    words = []
    for match in _TOKEN.finditer(line):
        if match[3] is not None and match[3].startswith("#"):
            break
        words.append(next(group for group in match.groups() if group is not None))
    return words

"""Reading what HAProxy listens for: the `bind ... ssl` lines of frontends and listens.

Limits: host names come from crt-list filters only, since rules decide the rest at run time;
environment variables, `default-bind` and conditional blocks (`.if`) are not evaluated.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from certshelf.doctor.bindings.base import Follow, Reading, follow_nothing, split_address
from certshelf.farm import Binding
from certshelf.serve.haproxy import CRT_LIST

_SECTIONS = frozenset(
    [
        "global",
        "defaults",
        "frontend",
        "backend",
        "listen",
        "peers",
        "resolvers",
        "userlist",
        "mailers",
        "cache",
        "program",
        "http-errors",
        "ring",
        "log-forward",
        "fcgi-app",
        "crt-store",
        "traces",
        "log-profile",
        "acme",
    ]
)


def read(text: str, source: str = "haproxy.cfg", follow: Follow = follow_nothing) -> Reading:
    """One binding for each TLS address, or for each of its crt-list's names."""
    bindings: list[Binding] = []
    notes: list[str] = []
    section, name = "", ""
    for number, line in enumerate(text.splitlines(), 1):
        words = _words(line)
        if words is None:
            notes.append(f"{source}:{number}: a quote does not end; line not read")
        elif not words:
            continue
        elif words[0] in _SECTIONS:
            section, name = words[0], (words[1] if len(words) > 1 else "")
        elif words[0] in (".if", ".elif", ".else"):
            notes.append(f"{source}:{number}: {words[0]} is not evaluated; all branches are read")
        elif section in ("frontend", "listen") and words[0] == "bind" and "ssl" in words[2:]:
            bindings += _bind(words, name, source, follow, notes)
    return Reading(tuple(bindings), tuple(dict.fromkeys(notes)))


def _words(line: str) -> list[str] | None:
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return None


def _bind(
    words: list[str], site: str, source: str, follow: Follow, notes: list[str]
) -> list[Binding]:
    certificate = _after("crt", words)
    crt_list = _after("crt-list", words)
    names: list[tuple[str, str]] = [("", certificate)] if certificate or not crt_list else []
    if Path(crt_list).name == CRT_LIST:
        names.append(("", ""))  # a reader writes it: whatever name the shelf has
    elif crt_list:
        listed = list(follow(crt_list))
        if not listed:
            notes.append(f"crt-list {crt_list} is not here; its names are not read")
            names.append(("", crt_list))
        for _, text in listed:
            names += _crt_list(text)
    rows = []
    for address in words[1].split(","):
        plain = address.removeprefix("ipv4@").removeprefix("ipv6@")
        where = split_address(_ipv6(plain))
        if where is None:
            notes.append(f"bind {address} is no TCP address with one port; not read")
            continue
        rows += [Binding(site, host, *where, certificate=c, source=source) for host, c in names]
    return rows


def _ipv6(text: str) -> str:
    """HAProxy writes `::1:443` without brackets: the last colon is the port's."""
    if text.startswith("[") or text.count(":") < 2:
        return text
    address, _, port = text.rpartition(":")
    return f"[{address}]:{port}"


def _after(word: str, words: list[str]) -> str:
    return words[words.index(word) + 1] if word in words[:-1] else ""


def _crt_list(text: str) -> list[tuple[str, str]]:
    """Lines of `certificate [options] name !name ...`; no name: whatever the certificate holds."""
    rows = []
    for line in text.splitlines():
        line = line.split("#", 1)[0].strip()
        if not line:
            continue
        certificate, *rest = line.split()
        names = " ".join(rest)
        if names.startswith("["):
            names = names.partition("]")[2]
        hosts = [name for name in names.split() if not name.startswith("!")]
        rows += [(host, certificate) for host in hosts or [""]]
    return rows

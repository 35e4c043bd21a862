"""Reading what nginx listens for: nginx.conf with its includes, or the output of `nginx -T`.

Limits: `server_name` with a regular expression is noted, not expanded; variables are not
computed (a certificate named by a variable counts as coming from the shelf); `stream` servers are
read as bindings for any name; Lua blocks are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from certshelf.doctor.bindings.base import (
    MAX_DEPTH,
    Follow,
    Reading,
    follow_nothing,
    split_address,
)
from certshelf.errors import ConfigError
from certshelf.farm import Binding


class Token(NamedTuple):
    """A word or one of `{ } ;`; mark tells a bare `;` from a quoted one."""

    text: str
    mark: bool
    line: int


@dataclass(slots=True)
class Directive:
    """One directive; block is None when it ended in a semicolon."""

    words: list[str]
    block: list[Directive] | None = None
    source: str = ""

    @property
    def name(self) -> str:
        """The first word."""
        return self.words[0]


@dataclass(slots=True)
class _Reader:
    follow: Follow
    notes: list[str] = field(default_factory=list)
    bindings: list[Binding] = field(default_factory=list)


def read(text: str, source: str = "nginx.conf", follow: Follow = follow_nothing) -> Reading:
    """The TLS listeners of every server block, one binding for each address and name."""
    reader = _Reader(follow)
    top = _expand(_parse(text, source), reader, 0)
    for outer in top:
        if outer.name in ("http", "stream") and outer.block is not None:
            _read_context(outer, reader)
    # A file of sites-enabled by itself has its servers at the top.
    _read_context(Directive(["http"], [d for d in top if d.name == "server"]), reader)
    notes, folders = dict.fromkeys(reader.notes), dict.fromkeys(_folders(top))
    return Reading(tuple(reader.bindings), tuple(notes), tuple(folders))


def _folders(directives: list[Directive]) -> Iterator[str]:
    """Every `root` and `alias` that is no computed one."""
    for directive in directives:
        words = directive.words
        if words[0] in ("root", "alias") and len(words) == 2 and "$" not in words[1]:
            yield words[1]
        yield from _folders(directive.block or [])


def _read_context(context: Directive, reader: _Reader) -> None:
    outer = context.block or []
    inherited = _certificate(outer)
    for server in outer:
        if server.name == "server" and server.block is not None:
            _read_server(server, inherited, reader)


def _read_server(server: Directive, inherited: str, reader: _Reader) -> None:
    block = server.block or []
    certificate = _certificate(block) or inherited
    if "$" in certificate:
        certificate = ""  # computed at each handshake: that is how a reader serves the shelf
    hosts = list(_hosts(block, reader))
    all_ssl = any(d.words == ["ssl", "on"] for d in block)  # before nginx 1.15
    for listen in block:
        if listen.name != "listen" or len(listen.words) < 2:
            continue
        if not all_ssl and "ssl" not in listen.words[2:]:
            continue
        where = split_address(listen.words[1], 80)
        if where is None:
            reader.notes.append(f"listen {listen.words[1]} is no TCP port; not read")
            continue
        for host in hosts:
            site = next((h for h in hosts if h), "")
            reader.bindings.append(
                Binding(site, host, *where, certificate=certificate, source=server.source)
            )


def _hosts(block: list[Directive], reader: _Reader) -> Iterator[str]:
    names = [name for d in block if d.name == "server_name" for name in d.words[1:]]
    if not names:
        yield ""
    for name in names:
        if name in ("_", ""):
            yield ""
        elif name.startswith("~") or name.endswith(".*") or "$" in name:
            reader.notes.append(f"server_name {name} stands for many names; not expanded")
        elif name.startswith("."):  # nginx: example.com and *.example.com
            yield name[1:]
            yield "*" + name
        else:
            yield name


def _certificate(block: list[Directive]) -> str:
    for directive in block:
        if directive.name == "ssl_certificate" and len(directive.words) == 2:
            return directive.words[1]
    return ""


def _expand(directives: list[Directive], reader: _Reader, depth: int) -> list[Directive]:
    """Replace includes by what they include, in place and inside blocks."""
    if depth > MAX_DEPTH:
        raise ConfigError("the includes of this configuration never end")
    result = []
    for directive in directives:
        if directive.name == "include" and len(directive.words) == 2:
            result += _include(directive.words[1], reader, depth)
            continue
        if directive.block is not None:
            directive.block = _expand(directive.block, reader, depth)
        result.append(directive)
    return result


def _include(pattern: str, reader: _Reader, depth: int) -> list[Directive]:
    if pattern.endswith("mime.types"):
        return []
    included: list[Directive] = []
    found = False
    for path, text in reader.follow(pattern):
        found = True
        included += _expand(_parse(text, path), reader, depth + 1)
    if not found and not any(c in pattern for c in "*?["):
        reader.notes.append(f"include {pattern} is not here; not read")
    return included


def _parse(text: str, source: str) -> list[Directive]:
    """The tree of a file. `nginx -T` names each file in a comment; its includes stay notes."""
    stack: list[list[Directive]] = [[]]
    words: list[str] = []
    for token in _tokens(text, source):
        if not token.mark:
            words.append(token.text)
            continue
        if token.text == "}":
            if len(stack) == 1 or words:
                raise ConfigError(f"{source}:{token.line}: a block ends that did not begin")
            stack.pop()
            continue
        if not words:
            raise ConfigError(f"{source}:{token.line}: {token.text!r} after nothing")
        directive = Directive(words, source=source)
        stack[-1].append(directive)
        words = []
        if token.text == "{":
            directive.block = []
            stack.append(directive.block)
            if len(stack) > 100:
                raise ConfigError(f"{source}:{token.line}: blocks are nested too deep")
    if len(stack) > 1 or words:
        raise ConfigError(f"{source} ends in the middle of a block or a directive")
    return stack[0]


def _tokens(text: str, source: str) -> Iterator[Token]:
    at, line, size = 0, 1, len(text)
    lua = False
    while at < size:
        char = text[at]
        if char == "\n":
            line += 1
        if char.isspace():
            at += 1
        elif char == "#":
            end = text.find("\n", at)
            at = size if end < 0 else end
        elif char in "{};":
            yield Token(char, True, line)
            at += 1
            if char == "{" and lua:
                skipped = _end_of_lua(text, at)
                line += text.count("\n", at, skipped)
                at = skipped
            lua = False
        else:
            word, end = _word(text, at, source, line)
            line += text.count("\n", at, end)
            lua = lua or word.endswith("_by_lua_block")
            yield Token(word, False, line)
            at = end


def _word(text: str, at: int, source: str, line: int) -> tuple[str, int]:
    quote = text[at] if text[at] in "\"'" else ""
    at += bool(quote)
    word: list[str] = []
    while at < len(text):
        char = text[at]
        if char == "\\" and at + 1 < len(text):
            word.append(text[at + 1] if text[at + 1] in "\"'\\ {};" else text[at : at + 2])
            at += 2
            continue
        if quote and char == quote:
            return "".join(word), at + 1
        if not quote and char == "$" and text[at + 1 : at + 2] == "{":
            end = text.find("}", at)
            if end < 0:
                break
            word.append(text[at : end + 1])
            at = end + 1
            continue
        if not quote and (char.isspace() or char in "{};"):
            return "".join(word), at
        word.append(char)
        at += 1
    if quote:
        raise ConfigError(f"{source}:{line}: a quote does not end")
    return "".join(word), at


def _end_of_lua(text: str, at: int) -> int:
    """Where the `}` of a Lua block is; braces in Lua's strings and comments must be balanced."""
    depth = 1
    while at < len(text):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return at
        at += 1
    return at

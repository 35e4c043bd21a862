"""Reading what a Python server listens for: uvicorn, gunicorn and hypercorn. Nothing is executed.

Three kinds of files: hypercorn's TOML; Python (gunicorn's and hypercorn's configuration,
`uvicorn.run(...)` and `uvicorn.Config(...)`), of which literals are read from the syntax tree; and
any text that holds the command itself (a systemd unit, a Procfile, a Dockerfile, a shell script).
These servers choose no certificate by name, so bindings are for any host. Limits: what is computed
or comes from the environment is noted; of a command's `-c`, files are followed, modules are not.
Source: gunicorn.org, Settings; hypercorn.readthedocs.io, Configuration; uvicorn.dev, Settings.
"""

from __future__ import annotations

import ast
import json
import shlex
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from certshelf.doctor.bindings.base import Follow, Reading, follow_nothing, split_address
from certshelf.doctor.bindings.documents import load, mapping
from certshelf.errors import ConfigError
from certshelf.farm import Binding

PROGRAMS = ("uvicorn", "gunicorn", "hypercorn")
COMPUTED = "ssl_context()"
"""Stands for a certificate that code of the user's chooses, not one from the shelf."""
_DEFAULT_PORT = 8000
_DEFAULT_HOST = "127.0.0.1"
_FLAGS = {
    "-b": "bind",
    "--bind": "bind",
    "--host": "host",
    "--port": "port",
    "--certfile": "certfile",
    "--keyfile": "keyfile",
    "--ssl-certfile": "certfile",
    "--ssl-keyfile": "keyfile",
    "-c": "config",
    "--config": "config",
}
_SETTINGS = ("bind", "certfile", "keyfile")
_ARGUMENTS = {
    "host": "host",
    "port": "port",
    "ssl_certfile": "certfile",
    "ssl_keyfile": "keyfile",
}
Settings = dict[str, Any]
"""bind (text or list), host, port, certfile, keyfile, config; shelf: True when it answers."""


def read(text: str, source: str = "gunicorn.conf.py", follow: Follow = follow_nothing) -> Reading:
    """One binding for each TLS address of each server that the file starts or configures."""
    notes: list[str] = []
    bindings: list[Binding] = []
    for program, settings in _servers(text, source, follow, notes):
        bindings += _bindings(program, settings, source, notes)
    return Reading(tuple(dict.fromkeys(bindings)), tuple(dict.fromkeys(notes)))


def _servers(
    text: str, source: str, follow: Follow, notes: list[str]
) -> Iterator[tuple[str, Settings]]:
    ending = PurePath(source).suffix.lower()
    if ending == ".toml":
        yield "hypercorn", mapping(load(text, source))
    elif ending == ".py":
        yield from _Module(text, source, notes).servers()
    else:
        for words in _commands(text):
            yield _command(words, follow, notes)


def _bindings(program: str, settings: Settings, source: str, notes: list[str]) -> Iterator[Binding]:
    shelf = settings.get("shelf") is True
    certificate = settings.get("certfile") or settings.get("keyfile")
    if not (certificate or shelf):
        return  # plain HTTP
    shown = "" if shelf else str(certificate)
    for bind in _binds(settings):
        where = split_address(bind, _DEFAULT_PORT)
        if where is None:
            notes.append(f"{program} binds {bind}, no TCP address with a port; not read")
        else:
            yield Binding(program, "", *where, certificate=shown, source=source)


def _binds(settings: Settings) -> list[str]:
    bind = settings.get("bind")
    if bind:
        return [str(one) for one in (bind if isinstance(bind, list | tuple) else [bind])]
    host = str(settings.get("host") or _DEFAULT_HOST)
    shown = f"[{host}]" if ":" in host else host
    return [f"{shown}:{settings.get('port') or _DEFAULT_PORT}"]


# --- Python files


class _Module:
    """The literals of a Python file: settings by name, and what uvicorn is called with."""

    def __init__(self, text: str, source: str, notes: list[str]) -> None:
        try:
            self._tree = ast.parse(text)
            self._nodes = list(ast.walk(self._tree))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ConfigError(f"{source} is no Python that can be read") from error
        self._notes = notes
        self._shelf = any(map(_imports_certshelf, self._nodes))
        name = PurePath(source).name
        self._program = next((program for program in PROGRAMS if program in name), "python")

    def servers(self) -> Iterator[tuple[str, Settings]]:
        """One for the file's own settings, one for each object with some, one for each call."""
        for owner, settings in self._assigned().items():
            hook = owner == "" and any(_is_hook(node) for node in self._tree.body)
            if settings.keys() & {"bind", "certfile", "keyfile"} or hook:
                yield self._program, self._with_context(settings, hook)
        for node in self._nodes:
            if isinstance(node, ast.Call) and _called(node) in ("uvicorn.run", "uvicorn.Config"):
                settings = self._arguments(node)
                yield "uvicorn", {**settings, "shelf": self._shelf and "certfile" not in settings}

    def _with_context(self, settings: Settings, hook: bool) -> Settings:
        """A function `ssl_context` chooses the certificate; from the shelf if it says so."""
        if self._shelf and (hook or "certfile" not in settings):
            return {**settings, "shelf": True}
        return {**settings, "certfile": COMPUTED} if hook else settings

    def _assigned(self) -> dict[str, Settings]:
        """`bind = ...` of the file by "", `config.bind = ...` by the object's name."""
        found: dict[str, Settings] = {"": {}}
        for node in self._nodes:
            if not isinstance(node, ast.Assign):
                continue
            for target in node.targets:
                owner, name = _target(target)
                at_top = bool(owner) or node in self._tree.body
                if name in _SETTINGS and at_top:
                    self._take(found.setdefault(owner, {}), name, node.value)
        return found

    def _arguments(self, call: ast.Call) -> Settings:
        settings: Settings = {}
        for keyword in call.keywords:
            if keyword.arg is None:
                self._notes.append("uvicorn is called with ** settings; not read")
            elif keyword.arg in _ARGUMENTS:
                self._take(settings, _ARGUMENTS[keyword.arg], keyword.value)
        return settings

    def _take(self, settings: Settings, name: str, value: ast.expr) -> None:
        try:
            settings[name] = ast.literal_eval(value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            self._notes.append(f"line {value.lineno}: {name} is computed; not read")
            if name in ("certfile", "keyfile"):
                settings[name] = "computed"  # TLS all the same


def _target(node: ast.expr) -> tuple[str, str]:
    if isinstance(node, ast.Name):
        return "", node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.value.id, node.attr
    return "", ""


def _called(node: ast.Call) -> str:
    owner, name = _target(node.func)
    return f"{owner}.{name}" if owner else name


def _is_hook(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "ssl_context"


def _imports_certshelf(node: ast.AST) -> bool:
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    return any(name.split(".")[0] == "certshelf" for name in names)


# --- commands


def _commands(text: str) -> Iterator[list[str]]:
    """The words of every command that starts one of the servers, its own name first."""
    for line in text.replace("\\\n", " ").splitlines():
        words = _words(line)
        for at, word in enumerate(words):
            if PurePath(word).name.removesuffix(".exe") in PROGRAMS:
                yield [PurePath(word).name.removesuffix(".exe"), *words[at + 1 :]]
                break


def _words(line: str) -> list[str]:
    """Of a shell line, or of a Dockerfile's JSON array."""
    line = line.strip()
    begin = line.find("[")
    if begin >= 0 and line.endswith("]"):
        try:
            return [str(word) for word in json.loads(line[begin:])]
        except (ValueError, TypeError, RecursionError):
            pass  # no array, then
    try:
        return shlex.split(line.partition("ExecStart=")[2] or line, comments=True)
    except ValueError:
        return []


def _command(words: list[str], follow: Follow, notes: list[str]) -> tuple[str, Settings]:
    program, *rest = words
    given: Settings = {}
    binds: list[str] = []
    for flag, value in _flags(rest):
        if "$" in value:
            notes.append(f"{program}: {flag} {value} comes from the environment; not read")
        elif _FLAGS[flag] == "bind":
            binds.append(value)
        else:
            given[_FLAGS[flag]] = value
    if binds:
        given["bind"] = binds
    config = str(given.pop("config", ""))
    return program, {**_configured(program, config, follow, notes), **given}


def _flags(words: list[str]) -> Iterator[tuple[str, str]]:
    """`--flag value`, `--flag=value`, `-b value` and `-bvalue`, of the flags that are known."""
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in _FLAGS and equals:
            yield name, value
        elif word in _FLAGS and at + 1 < len(words):
            yield word, words[at + 1]
        elif word[:2] in ("-b", "-c") and len(word) > 2:
            yield word[:2], word[2:]


def _configured(program: str, config: str, follow: Follow, notes: list[str]) -> Settings:
    """What the file behind `-c` says; a command's own flags come before it."""
    if not config:
        return {}
    file = config.removeprefix("file:")
    found = [] if file.startswith("python:") else list(follow(file))
    if not found:
        notes.append(f"{program}: the configuration {config} is not here; not read")
    servers = [one for path, text in found for one in _servers(text, path, follow, notes)]
    return servers[0][1] if servers else {}

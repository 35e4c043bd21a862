"""Configurations that are JSON, YAML or TOML as plain values, whatever they hold."""

from __future__ import annotations

import json
import tomllib
from importlib import import_module
from typing import Any

from certshelf.errors import ConfigError

_MOST_NODES = 1_000_000
_OF_TAGS = (KeyError, IndexError, AttributeError, TypeError, OverflowError)
"""What PyYAML raises for `!!bool x`, `!!int ""`, `!!timestamp x` and the like."""


def load(text: str, source: str) -> Any:
    """The document: TOML when source ends in `.toml`, else JSON or YAML (extra `bindings`).

    A small YAML text stays small: aliases that multiply it are refused. Raises ConfigError.
    """
    if source.lower().endswith(".toml"):
        return _toml(text, source)
    try:
        return json.loads(text)
    except ValueError:
        return _yaml(text, source)
    except RecursionError as error:
        raise ConfigError(f"{source} is nested too deep") from error


def _toml(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{source} is no TOML") from error


def _yaml(text: str, source: str) -> Any:
    try:
        yaml: Any = import_module("yaml")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{source} is no JSON, and YAML needs the extra `bindings`",
            hint="pip install 'certshelf[bindings]', or give the configuration as JSON",
        ) from error
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if _size(node, {}) > _MOST_NODES:
            raise ConfigError(f"{source} has aliases that make too much of it")
        return loader.construct_document(node) if node is not None else None
    except (yaml.YAMLError, RecursionError, ValueError, *_OF_TAGS) as error:
        raise ConfigError(f"{source} is neither JSON nor YAML") from error


def _size(node: Any, known: dict[int, int]) -> int:
    """How many nodes a document has when every alias is written out: merge keys do that."""
    if id(node) not in known:
        known[id(node)] = _MOST_NODES + 1  # what holds itself has no end
        inner = getattr(node, "value", "")
        size = 1
        for child in inner if isinstance(inner, list) else ():
            size += sum(
                _size(part, known) for part in (child if type(child) is tuple else (child,))
            )
        known[id(node)] = size
    return known[id(node)]


def mapping(value: object) -> dict[str, Any]:
    """A mapping as it is; anything else is empty."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """A list as it is; anything else is empty."""
    return value if isinstance(value, list) else []

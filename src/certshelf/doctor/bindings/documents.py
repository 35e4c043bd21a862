"""Configurations that are JSON, YAML or TOML as plain values, whatever they hold."""

from __future__ import annotations

import json
import tomllib
from importlib import import_module
from typing import Any

from certshelf.errors import ConfigError


def load(text: str, source: str) -> Any:
    """The document: TOML when source ends in `.toml`, else JSON or YAML (extra `bindings`).

    Aliases of YAML are shared, not copied, so a small text stays small. Raises ConfigError.
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
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{source} is neither JSON nor YAML") from error


def mapping(value: object) -> dict[str, Any]:
    """A mapping as it is; anything else is empty."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """A list as it is; anything else is empty."""
    return value if isinstance(value, list) else []

"""From the settings of a task, texts or JSON, to its typed dataclass: the fields are the rules."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from certshelf.errors import ConfigError

T = TypeVar("T")
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def setting(help: str, *, default: Any = dataclasses.MISSING, choices: tuple[str, ...] = ()) -> Any:
    """A field of a task: what it means, in one sentence; without a default it must be given."""
    metadata = {"help": help, "choices": choices}
    if default == {}:
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def parse_settings(cls: type[T], settings: Mapping[str, Any]) -> T:
    """The task of that class; ConfigError for an unknown, missing or unusable setting.

    Texts are read as the field's type, since a command line has nothing else. Names may be written
    with hyphens.
    """
    given = {name.replace("-", "_"): value for name, value in settings.items()}
    kind = getattr(cls, "kind", cls.__name__)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    for name in given:
        if name not in fields:
            raise ConfigError(
                f"{kind} has no setting {name[:64]!r}", hint=f"it has {', '.join(fields)}"
            )
    values = {}
    for name, field in fields.items():
        if name in given:
            values[name] = _read(kind, field, hints[name], given[name])
        elif _is_required(field):
            raise ConfigError(
                f"{kind} needs {name}: {field.metadata['help']}", hint=f"--set {name}=..."
            )
    return cls(**values)


def described(cls: type[Any]) -> list[tuple[str, str, str]]:
    """Name, default as text ("required" without one) and meaning of each setting, for people."""
    rows = []
    for field in dataclasses.fields(cls):
        default = "required" if _is_required(field) else _shown(field.default)
        rows.append((field.name, default, field.metadata["help"]))
    return rows


def _is_required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "-" if value in ((), "", dataclasses.MISSING) else str(value)


def _read(kind: str, field: dataclasses.Field[Any], hint: Any, value: Any) -> Any:
    origin = typing.get_origin(hint)
    reader = _READERS.get(origin or hint)
    if reader is None:
        raise AssertionError(f"no reader for {hint}")  # a mistake of ours, met by every test
    try:
        read = reader(value)
    except (TypeError, ValueError, KeyError):
        raise ConfigError(f"{kind}: {field.name} cannot be {str(value)[:80]!r}") from None
    choices = field.metadata["choices"]
    if choices and read not in choices:
        raise ConfigError(
            f"{kind}: {field.name} cannot be {str(value)[:80]!r}",
            hint=f"one of {', '.join(choices)}",
        )
    return read


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    number = float(value)
    if not 0 <= number < 1e9:
        raise ValueError
    return number


def _flag(value: Any) -> bool:
    return value if isinstance(value, bool) else _WORDS[_text(value).lower()]


def _texts(value: Any) -> tuple[str, ...]:
    return (_text(value),) if isinstance(value, str) else tuple(map(_text, value))


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError
    return types.MappingProxyType({_text(key): item for key, item in value.items()})


_READERS: Mapping[Any, Callable[[Any], Any]] = types.MappingProxyType(
    {str: _text, float: _number, bool: _flag, tuple: _texts, Mapping: _mapping}
)

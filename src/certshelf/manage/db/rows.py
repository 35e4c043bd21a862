"""Between values and rows: the few lines that every noun needs.

Statements that every order needs are built once, at import: building one costs five times as much
as running it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table
from sqlalchemy.exc import IntegrityError

from certshelf.errors import RecordError


def columns(value: Any, *, without: Iterable[str] = ()) -> dict[str, Any]:
    """The fields of a dataclass as plain values for the columns of the same names."""
    left_out = set(without)
    return {
        spec.name: plain(getattr(value, spec.name))
        for spec in fields(value)
        if spec.name not in left_out
    }


def plain(value: Any) -> Any:
    """A value as a column or JSON takes it."""
    if value is None or type(value) in (str, int, bool):
        return value
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    return value


def insert(connection: Connection, table: Table, values: Mapping[str, Any], what: str) -> int:
    """Add one row; its integer key, if it has one. what: `certificate 'web'`, for the message.

    Raises RecordError when it is there already.
    """
    try:
        result = connection.execute(table.insert(), dict(values))
    except IntegrityError as error:
        raise RecordError(f"{what}: there is one already, or what it belongs to is gone") from error
    key = result.inserted_primary_key
    return key[0] if key is not None and isinstance(key[0], int) else 0


def update(
    connection: Connection,
    table: Table,
    where: ColumnElement[bool],
    values: Mapping[str, Any],
    what: str,
) -> None:
    """Change one row; RecordError when it is not there."""
    try:
        result = connection.execute(table.update().where(where), dict(values))
    except IntegrityError as error:
        raise RecordError(f"{what}: there is one with that name already") from error
    if result.rowcount == 0:
        raise missing(what)


def delete(connection: Connection, table: Table, where: ColumnElement[bool], what: str) -> None:
    """Remove one row; RecordError when it is not there."""
    if connection.execute(table.delete().where(where)).rowcount == 0:
        raise missing(what)


def missing(what: str) -> RecordError:
    """The error for a record that is not there."""
    return RecordError(f"there is no {what}")


def mapping(row: Row[Any]) -> dict[str, Any]:
    """A row as a new dict."""
    return dict(row._mapping)

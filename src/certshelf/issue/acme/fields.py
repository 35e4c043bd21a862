"""Reading one member of a CA's JSON object: the right type, or a named error."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from certshelf.errors import IssuerUnreachable
from certshelf.issue.acme.directory import checked_url
from certshelf.issue.acme.identifiers import Identifier
from certshelf.issue.acme.problem import printable

Document = Mapping[str, object]
_MAX_TEXT = 1000


def text(document: Document, member: str, default: str | None = None) -> str:
    """A string, made one printable line; a missing one without a default is an error."""
    value = document.get(member, default)
    if isinstance(value, str):
        return printable(value, _MAX_TEXT)
    raise wrong(member, value)


def url(document: Document, member: str) -> str:
    """A URL that may be asked."""
    return checked_url(document.get(member))


def urls(document: Document, member: str) -> tuple[str, ...]:
    """A list of URLs."""
    return tuple(checked_url(value) for value in objects(document, member))


def objects(document: Document, member: str, limit: int = 1000) -> list[object]:
    """A list; a missing one is empty."""
    value = document.get(member) or []
    if isinstance(value, list) and len(value) <= limit:
        return value
    raise wrong(member, value)


def moment(document: Document, member: str) -> datetime | None:
    """An RFC 3339 time as aware UTC; None when it is missing."""
    value = document.get(member)
    if value is None or value == "":
        return None
    try:
        found = datetime.fromisoformat(str(value))
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):  # the years 1 and 9999 have moments outside of UTC
        raise wrong(member, value) from None


def identifier(value: object) -> Identifier:
    """An identifier as CAs send it: type and value."""
    if isinstance(value, dict):
        kind, name = value.get("type"), value.get("value")
        if isinstance(name, str) and (kind == "dns" or kind == "ip"):
            return Identifier(kind, printable(name, 255).lower())
    raise wrong("identifier", value)


def wrong(member: str, value: object) -> IssuerUnreachable:
    """What is raised for a member that is not as RFC 8555 says."""
    return IssuerUnreachable(f"the CA sends a wrong {member!r}: {printable(value, 80)}")

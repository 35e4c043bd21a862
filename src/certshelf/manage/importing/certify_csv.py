"""Certify's CSV: one line a certificate, `site id, name, host;host`, or columns with a header.

As Certify's own import reads it: no quotes, blanks around values dropped, a comma inside {} is
part of the value. Columns about IIS and web hooks are not ours. certshelf's own export has the
same columns and `issuer` and `key` more.
Source: docs.certifytheweb.com, "CSV Bulk Import".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from certshelf.errors import ConfigError
from certshelf.manage.importing.base import MAX_EXPORT, MAX_FOUND, Found, parse_hosts, read_text

_PLAIN = {"siteid": 0, "name": 1, "domains": 2}
_TASKS = ("prerequestpowershellscript", "postrequestpowershellscript", "webhookurl")


def read(file: Path) -> list[Found]:
    """What a CSV file lists. ConfigError when it cannot be read or is too long."""
    lines = [line for line in read_text(file, MAX_EXPORT).splitlines() if line.strip()]
    if len(lines) > MAX_FOUND:
        raise ConfigError(f"cannot read {file}: more than {MAX_FOUND:,} lines")
    columns: Mapping[str, int] = _PLAIN
    if lines and "domains" in lines[0] and ("siteid" in lines[0] or "name" in lines[0]):
        columns = {title.strip().lower(): i for i, title in enumerate(lines[0].split(","))}
        lines = lines[1:]
    return [_found(split(line), columns) for line in lines]


def split(line: str) -> list[str]:
    """The values of a line: split at each comma that is not inside {}."""
    parts: list[str] = []
    end, inside = len(line), False
    for i in range(len(line) - 1, -1, -1):
        if line[i] in "{}":
            inside = line[i] == "}"
        elif line[i] == "," and not inside:
            parts.append(line[i + 1 : end])
            end = i
    parts.append(line[:end])
    return [part.strip() for part in reversed(parts)]


def _found(values: list[str], columns: Mapping[str, int]) -> Found:
    def value(title: str) -> str:
        place = columns.get(title)
        return values[place] if place is not None and place < len(values) else ""

    primary = value("primarydomain")
    hosts, notes = parse_hosts(([primary] if primary else []) + value("domains").split(";"))
    if not hosts:
        notes += ("its line names no host",)
    tasks = [title for title in _TASKS if value(title)]
    if tasks:
        notes += (f"its {', '.join(tasks)} is not taken over: make it a task",)
    return Found(
        value("name") or (hosts[0].ascii if hosts else ",".join(values)[:40]),
        hosts,
        issuer=value("issuer"),
        key_type=value("key"),
        auto_renew=value("includeinautorenew").lower() != "false",
        notes=notes,
    )

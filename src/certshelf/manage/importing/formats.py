"""The formats of `certshelf import`, by name: one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from certshelf.manage.importing import acmesh, ccs, certbot, certify_csv, certify_json, winacme
from certshelf.manage.importing.base import Found
from certshelf.secret import Secret

Read = Callable[[Path, Secret | None], list[Found]]

FORMATS: Mapping[str, Read] = {
    "certbot": lambda path, password: certbot.read(path),
    "acme.sh": lambda path, password: acmesh.read(path),
    "win-acme": lambda path, password: winacme.read(path),
    "certify": lambda path, password: certify_json.read(path),
    "csv": lambda path, password: certify_csv.read(path),
    "ccs": ccs.read,
}

"""The doctor on a schedule: what is new becomes an event, and what is gone too.

What killed writers left on the shelves is swept away on the way.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from certshelf.errors import CertshelfError
from certshelf.finding import Finding, Severity
from certshelf.manage.doctor import run_doctor
from certshelf.manage.groups import all_groups
from certshelf.manage.publishing import open_group_shelf

if TYPE_CHECKING:
    from certshelf.manage.db.records import Records
    from certshelf.manage.manager import Manager

_KEY = "doctor-open"
_TOLD = (Severity.WARNING, Severity.ERROR)
_MAX_OPEN = 500
"""Findings that are remembered; a farm with more has one cause, which is among them."""


@dataclass(frozen=True, slots=True)
class Open:
    """A finding that has not gone yet, as it is remembered."""

    severity: str
    subject: str
    what: str


def check_up(manager: Manager) -> dict[str, int]:
    """Run every check, log what came and what went; how many findings there are by severity."""
    findings = run_doctor(manager)
    sweep(manager)
    now = manager.clock.now()
    with manager.database.write() as records:
        before = open_findings(records)
        found = remember(findings)
        for key in found.keys() - before.keys():
            data = {"finding": key.partition(" ")[0], "what": found[key].what}
            records.events.append(now, "doctor.found", found[key].subject, data)
        for key in before.keys() - found.keys():
            data = {"finding": key.partition(" ")[0]}
            records.events.append(now, "doctor.cleared", before[key].subject, data)
        _store(records, found)
    return dict(Counter(finding.severity.value for finding in findings))


def sweep(manager: Manager) -> int:
    """Remove unfinished files of writers that were killed an hour ago or more; how many.

    A shelf that cannot be reached is left for the next time: the doctor says that already.
    """
    with manager.database.read() as records:
        groups = [group.name for group in all_groups(records)]
    count = 0
    for group in ["", *groups] if manager.settings.shelf.store else groups:
        with contextlib.suppress(CertshelfError):
            shelf = open_group_shelf(manager, group) if group else manager.shelf
            count += shelf.store.sweep()
    return count


def remember(findings: Iterable[Finding]) -> dict[str, Open]:
    """Warnings and errors by a key that stays the same while the finding stays."""
    found = {
        f"{f.id} {f.subject}": Open(f.severity.value, f.subject, f.what[:500])
        for f in findings
        if f.severity in _TOLD
    }
    return dict(list(found.items())[:_MAX_OPEN])


def open_findings(records: Records) -> dict[str, Open]:
    """What the last check-up found."""
    stored: Mapping[str, dict[str, str]] = json.loads(records.meta.get(_KEY) or "{}")
    return {key: Open(**value) for key, value in stored.items()}


def _store(records: Records, found: Mapping[str, Open]) -> None:
    values = {
        key: {"severity": one.severity, "subject": one.subject, "what": one.what}
        for key, one in found.items()
    }
    records.meta.put(_KEY, json.dumps(values))

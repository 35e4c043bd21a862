"""What verify found the last time, by version: an unchanged shelf is listed, not read again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from datetime import UTC, datetime

from certshelf.finding import Finding, Severity
from certshelf.shelf.files import ShelfFile
from certshelf.store.base import Version

_NEVER = 253402300799.0  # the year 9999


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found of one file, and until when (seconds since the epoch) that stays true."""

    host: str
    until: float
    findings: tuple[Finding, ...]


class Verified:
    """Findings by file, version and record version. Not safe for several threads."""

    def __init__(self) -> None:
        self._checked: dict[str, tuple[str, str, Checked]] = {}

    def __len__(self) -> int:
        return len(self._checked)

    def find(
        self, file: str, version: Version, record: Version | None, now: datetime
    ) -> Checked | None:
        """What was found of this very version, if time has not changed it since."""
        kept = self._checked.get(file)
        if kept is None or kept[:2] != (version, record or ""):
            return None
        return kept[2] if now.timestamp() < kept[2].until else None

    def keep(
        self, found: ShelfFile, version: Version, record: Version | None, now: datetime
    ) -> None:
        """Remember what was found."""
        host = found.host.ascii if found.host else ""
        checked = Checked(host, _until(found, now), found.findings)
        self._checked[found.file] = (version, record or "", checked)

    def forget_all_but(self, files: Set[str]) -> None:
        """Let go of what is not on the shelf any more."""
        for file in self._checked.keys() - files:
            del self._checked[file]

    def lines(self) -> Iterator[str]:
        """One JSON line a file, for load()."""
        for file, (version, record, checked) in self._checked.items():
            findings = [f.as_json() for f in checked.findings]
            yield json.dumps([file, version, record, checked.host, checked.until, findings])

    @staticmethod
    def load(lines: Iterable[str]) -> Verified:
        """What lines() gave; ValueError, KeyError or TypeError when it is something else."""
        verified = Verified()
        for line in lines:
            file, version, record, host, until, findings = json.loads(line)
            parsed = tuple(
                Finding(**{**fields, "severity": Severity(fields["severity"])})
                for fields in findings
            )
            verified._checked[file] = (version, record, Checked(host, float(until), parsed))
        return verified


def _until(found: ShelfFile, now: datetime) -> float:
    """When the passing of time alone can change what is said of a file."""
    if found.bundle is None:
        return _NEVER
    moments = (found.bundle.not_before, found.bundle.not_after)
    later = [m.astimezone(UTC).timestamp() for m in moments if m > now]
    return min(later, default=_NEVER)

"""What verify and the doctor report: one fact, why it matters, and what to do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad; ERROR is what makes an exit status 1."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about one subject.

    id: stable, kebab-case, documented in docs/reference/findings.md.
    subject: a file, host, member or setting. source: who says so (a page, an RFC), or "".
    """

    id: str
    severity: Severity
    subject: str
    what: str
    why: str = ""
    do: str = ""
    source: str = ""

    def as_json(self) -> dict[str, str]:
        """The finding as plain values, for --json."""
        return {k: str(v) for k, v in asdict(self).items()}

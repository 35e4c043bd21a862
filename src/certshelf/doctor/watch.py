"""What changed between two looks of the doctor. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from certshelf.finding import Finding, Severity


@dataclass(frozen=True, slots=True)
class Change:
    """A finding that is new or says something else; or one that is gone."""

    finding: Finding
    gone: bool = False


def changes(before: Iterable[Finding], now: Iterable[Finding]) -> Iterator[Change]:
    """Every finding that came or changed, then every one that went, but for an "all is well".

    A finding is its id and its subject. before: none for the first look, which tells everything.
    """
    known = {(finding.id, finding.subject): finding for finding in before}
    for finding in now:
        if known.pop((finding.id, finding.subject), None) != finding:
            yield Change(finding)
    went = (finding for finding in known.values() if finding.severity is not Severity.OK)
    yield from (Change(finding, gone=True) for finding in went)

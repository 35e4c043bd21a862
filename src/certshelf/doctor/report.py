"""A report of findings: text for people, JSON and JUnit XML for programs, and the exit status."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET  # written here, never read
from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from certshelf.doctor.base import NOT_ASKED, PAGE
from certshelf.finding import Finding, Severity

_ORDER = (Severity.ERROR, Severity.WARNING, Severity.INFO, Severity.OK)


def exit_status(findings: Sequence[Finding]) -> int:
    """1 when anything is red (an ERROR), else 0: warnings do not stop a pipeline."""
    return 1 if any(f.severity is Severity.ERROR for f in findings) else 0


def text(findings: Sequence[Finding]) -> str:
    """Worst first; what is well is one line each; a summary at the end."""
    lines = []
    asked = [f for f in findings if not f.what.startswith(NOT_ASKED)]
    for finding in sorted(asked, key=lambda f: _ORDER.index(f.severity)):
        if finding.severity is Severity.OK and finding.subject:
            continue  # of what is well subject by subject, the number is enough
        subject = f" {_plain(finding.subject)}:" if finding.subject else ""
        lines.append(f"{finding.severity.upper():<8} {finding.id}{subject} {_plain(finding.what)}")
        if finding.severity in (Severity.ERROR, Severity.WARNING):
            lines += [f"         why: {_plain(finding.why)}"] if finding.why else []
            lines += [f"         do:  {_plain(finding.do)}"] if finding.do else []
    lines += _well(findings)
    lines += _not_asked(findings)
    counts = {s: sum(f.severity is s for f in findings) for s in _ORDER}
    lines.append(", ".join(f"{number} {severity}" for severity, number in counts.items()))
    if counts[Severity.ERROR] or counts[Severity.WARNING]:
        lines.append(f"each id is explained in {PAGE}")
    return "\n".join(lines) + "\n"


def _well(findings: Sequence[Finding]) -> list[str]:
    """Findings that are well and have a subject, counted by id."""
    well = Counter(f.id for f in findings if f.severity is Severity.OK and f.subject)
    return [f"OK       {id} {number} times" for id, number in well.items()]


def _not_asked(findings: Sequence[Finding]) -> list[str]:
    """The checks that could not be asked, one line for each reason."""
    reasons: dict[str, list[str]] = {}
    for finding in findings:
        if finding.what.startswith(NOT_ASKED):
            reasons.setdefault(finding.what, []).append(finding.id)
    return [f"-        {_plain(what)}: {', '.join(ids)}" for what, ids in reasons.items()]


def as_json(findings: Sequence[Finding]) -> str:
    """A list of objects: id, severity, subject, what, why, do, source."""
    return json.dumps([f.as_json() for f in findings], ensure_ascii=False, indent=2) + "\n"


def junit(findings: Sequence[Finding]) -> str:
    """JUnit XML: one test case for each id and subject; an ERROR is a failure, INFO is skipped."""
    suite = ET.Element("testsuite", name="certshelf doctor")
    failures = skipped = 0
    ordered = sorted(findings, key=lambda f: (f.id, f.subject))
    for (id, subject), group in groupby(ordered, key=lambda f: (f.id, f.subject)):
        case = ET.SubElement(suite, "testcase", classname=id, name=_plain(subject) or id)
        found = list(group)
        for finding in found:
            if finding.severity is Severity.ERROR:
                failure = ET.SubElement(case, "failure", message=_plain(finding.what))
                failure.text = _plain(f"{finding.why}; do: {finding.do}; see {finding.source}")
            elif finding.severity is Severity.INFO and len(found) == 1:
                ET.SubElement(case, "skipped", message=_plain(finding.what))
            elif finding.severity is Severity.WARNING:
                ET.SubElement(case, "system-out").text = _plain(f"{finding.what}; {finding.do}")
        failures += any(f.severity is Severity.ERROR for f in found)
        skipped += case.find("skipped") is not None
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(failures))
    suite.set("errors", "0")
    suite.set("skipped", str(skipped))
    ET.indent(suite)
    declaration = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return declaration + ET.tostring(suite, encoding="unicode") + "\n"


def _plain(value: str) -> str:
    """One line without control characters: names and errors may come from hostile files."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value)

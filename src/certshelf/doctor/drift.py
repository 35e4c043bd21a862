"""Does every member serve what the shelf holds?"""

from __future__ import annotations

from collections.abc import Iterator

from certshelf.clock import iso
from certshelf.doctor.base import PAGE, Check
from certshelf.doctor.causes import TEXTS
from certshelf.doctor.context import Context
from certshelf.doctor.served import Served, Verdict
from certshelf.finding import Finding, Severity

_SEVERITY = {
    Verdict.CURRENT: Severity.OK,
    Verdict.PENDING: Severity.INFO,
}


def finding(served: Served) -> Finding:
    """The finding of one member and one name."""
    cause = TEXTS[served.cause] if served.cause else None
    seen = served.seen
    return Finding(
        id=f"served-{served.verdict}",
        severity=_SEVERITY.get(served.verdict, Severity.ERROR),
        subject=f"{served.target.member} {served.target.name}",
        what=what(served),
        why=f"{served.cause}: {cause.why}" if cause else "",
        do=cause.do if cause else "",
        source=(seen.detail if seen else "") or f"{PAGE}#served-{served.verdict}",
    )


def what(served: Served) -> str:
    """One sentence: who serves what for which name."""
    target, seen = served.target, served.seen
    where = f"{target.member} ({target.host}:{target.port})"
    if seen is None or seen.failure is not None:
        verbs = {
            Verdict.REFUSED: "refuses the handshake",
            Verdict.PENDING: "has no certificate yet",
        }
        return f"{where} {verbs.get(served.verdict, 'does not answer')} for {target.name}"
    end = f", until {iso(seen.not_after)}" if seen.not_after else ""
    shown = f"certificate {seen.sha256[:16]} ({_names(served)}{end})"
    words = {
        Verdict.CURRENT: f"serves the shelf's {shown}",
        Verdict.PENDING: f"still serves {shown}",
        Verdict.OLD: f"serves an old {shown}",
        Verdict.OTHER: f"serves another {shown}",
        Verdict.DEFAULT: f"serves its default {shown}",
        Verdict.EXPIRED: f"serves an expired {shown}",
    }
    return f"{where} {words[served.verdict]} for {target.name}"


def _names(served: Served) -> str:
    names = served.seen.names if served.seen else ()
    if not names:
        return "for no host name"
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}"


def _served(context: Context) -> Iterator[Finding]:
    for served in context.served or ():
        yield finding(served)


def _missing(context: Context) -> str:
    if not any(member.host for member in context.members):
        return "no member has an address (certshelf member add NAME HOST:PORT)"
    return "" if context.served is not None else "no member was asked"


CHECKS = (
    Check(
        "served",
        "every member serves what the shelf holds",
        _served,
        _missing,
        tuple(f"served-{verdict}" for verdict in Verdict),
    ),
)

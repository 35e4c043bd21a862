"""A check: one question with an id, asked of a context; and how all of them are run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from certshelf.doctor.context import Context
from certshelf.errors import ConfigError
from certshelf.finding import Finding, Severity

PAGE = "docs/reference/findings.md"
NOT_ASKED = "not looked at: "
"""How the finding of a check begins that could not be asked."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question.

    id: of the check, and of its findings unless finds names others. question: what is asked, in
    the words of the report. run: the findings; none when all is well. missing: why it cannot be
    asked of this context, "" when it can.
    """

    id: str
    question: str
    run: Callable[[Context], Iterable[Finding]]
    missing: Callable[[Context], str] = lambda context: ""
    finds: tuple[str, ...] = ()

    @property
    def finding_ids(self) -> tuple[str, ...]:
        """Every id that its findings may have, and its own, which says that all is well."""
        return tuple(dict.fromkeys((self.id, *self.finds)))


def examine(
    context: Context, checks: Sequence[Check], only: Collection[str] = ()
) -> tuple[Finding, ...]:
    """Ask every check (or those named in only, by a check's id or a finding's).

    A check that finds nothing gives one OK finding, one that cannot be asked one INFO finding.
    Raises ConfigError for an id that nobody has.
    """
    return examine_all([("", context)], checks, only)


def examine_all(
    contexts: Sequence[tuple[str, Context]], checks: Sequence[Check], only: Collection[str] = ()
) -> tuple[Finding, ...]:
    """The same over several contexts, one for each group of servers; the main one has no name.

    The findings of a group say so in their subject. One "all is well" stands for all contexts.
    """
    known = {id for check in checks for id in check.finding_ids}
    unknown = sorted(set(only) - known)
    if unknown:
        raise ConfigError(
            f"no check is called {unknown[0]!r}", hint="certshelf doctor --list shows them all"
        )
    findings: list[Finding] = []
    for check in checks:
        if not only or any(id in only for id in check.finding_ids):
            answers = [
                _of_group(finding, group)
                for group, context in contexts
                for finding in _ask(check, context, only)
            ]
            about = [finding for finding in answers if finding.subject]
            findings += about or sorted(answers, key=lambda f: f.severity is not Severity.OK)[:1]
    return tuple(findings)


def _of_group(finding: Finding, group: str) -> Finding:
    if not group or not finding.subject:
        return finding
    return replace(finding, subject=f"{finding.subject} (group {group})")


def _ask(check: Check, context: Context, only: Collection[str]) -> list[Finding]:
    missing = check.missing(context)
    if missing:
        return [Finding(check.id, Severity.INFO, "", f"{NOT_ASKED}{missing}", source=PAGE)]
    found = [_with_page(finding) for finding in check.run(context)]
    if only and check.id not in only:
        found = [finding for finding in found if finding.id in only]
    return found or [Finding(check.id, Severity.OK, "", check.question, source=PAGE)]


def _with_page(finding: Finding) -> Finding:
    """Findings of the shelf and of servers have their paragraph in the same page."""
    return replace(finding, source=f"{PAGE}#{finding.id}")


def error(id: str, subject: str, what: str, why: str, do: str) -> Finding:
    """A finding that makes the exit status 1."""
    return Finding(id, Severity.ERROR, subject, what, why, do, f"{PAGE}#{id}")


def warning(id: str, subject: str, what: str, why: str, do: str) -> Finding:
    """A finding that should be looked at soon."""
    return Finding(id, Severity.WARNING, subject, what, why, do, f"{PAGE}#{id}")


def info(id: str, subject: str, what: str, why: str, do: str) -> Finding:
    """A finding that is good to know."""
    return Finding(id, Severity.INFO, subject, what, why, do, f"{PAGE}#{id}")


def no_shelf(context: Context) -> str:
    """The reason of checks that look at the shelf as a place."""
    return context.shelf.unasked if context.shelf is not None else "no shelf is configured"


def no_files(context: Context) -> str:
    """The reason of checks that look at files."""
    return "" if context.files is not None else "the shelf could not be read"


def no_bindings(context: Context) -> str:
    """The reason of checks that look at bindings."""
    if not context.members:
        return "no members are declared (certshelf member add)"
    return "" if context.bindings else "no member has a bindings file (member add --bindings)"


def no_manager(context: Context) -> str:
    """The reason of checks that look at the manager's machine."""
    return "" if context.manager is not None else "there is no manager here"

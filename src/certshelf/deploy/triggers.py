"""When a task runs: the words, and the one pure function that decides."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """When a task runs: before the request or after it."""

    BEFORE = "before"
    AFTER = "after"


class Trigger(StrEnum):
    """After which outcome a task runs."""

    SUCCESS = "success"
    ERROR = "error"
    ANY = "any"
    MANUAL = "manual"
    SKIPPED = "skipped"  # kept, never run; the reason is in skip_reason


class Outcome(StrEnum):
    """How a task ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


def should_run(trigger: Trigger, *, ok: bool, by_hand: bool = False) -> str:
    """Why a task does not run now, "" when it does.

    ok: whether the request and every task before this one went well. by_hand: a person asked for
    this very task, which overrides everything but SKIPPED.
    """
    if trigger is Trigger.SKIPPED:
        return "it is switched off"
    if by_hand or trigger is Trigger.ANY:
        return ""
    if trigger is Trigger.MANUAL:
        return "it runs by hand only"
    if trigger is Trigger.SUCCESS and not ok:
        return "something before it failed"
    if trigger is Trigger.ERROR and ok:
        return "nothing failed"
    return ""

"""What --watch prints: what came, what changed, what went."""

from __future__ import annotations

from certshelf.doctor.watch import Change, changes
from certshelf.finding import Finding, Severity

FINE = Finding("disk", Severity.OK, "", "the disk has room")
OLD = Finding("served-old", Severity.ERROR, "web1 a.test", "serves the certificate before")
WORSE = Finding("served-old", Severity.ERROR, "web1 a.test", "serves an expired certificate")
OTHER = Finding("served-old", Severity.ERROR, "web2 a.test", "serves the certificate before")


def test_the_first_look_tells_everything() -> None:
    assert list(changes((), (FINE, OLD))) == [Change(FINE), Change(OLD)]


def test_what_stays_is_not_told_again() -> None:
    assert list(changes((FINE, OLD), (FINE, OLD))) == []


def test_a_finding_that_says_something_else_is_told() -> None:
    assert list(changes((OLD,), (WORSE,))) == [Change(WORSE)]


def test_the_same_finding_of_another_server_is_another() -> None:
    assert list(changes((OLD,), (OTHER,))) == [Change(OTHER), Change(OLD, gone=True)]


def test_what_is_mended_is_told_as_gone() -> None:
    assert list(changes((FINE, OLD), (FINE,))) == [Change(OLD, gone=True)]


def test_an_all_is_well_that_ends_is_told_by_what_is_wrong_alone() -> None:
    assert list(changes((FINE,), (OLD,))) == [Change(OLD)]

"""Retry-After in both forms, and the waits between looks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from certshelf.issue.acme.retry import MAX_WAIT, Polling, retry_after

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("120", timedelta(seconds=120)),
        (" 0 ", timedelta(0)),
        ("Tue, 01 Jan 2030 12:05:00 GMT", timedelta(minutes=5)),
        ("Tue, 01 Jan 2030 13:05:00 +0100", timedelta(minutes=5)),
        ("Tue, 01 Jan 2030 11:00:00 GMT", timedelta(0)),
        ("99999999", MAX_WAIT),
        ("Tue, 01 Jan 2999 11:00:00 GMT", MAX_WAIT),
    ],
)
def test_both_forms_are_read(header: str, wait: timedelta) -> None:
    assert retry_after(header, NOW) == NOW + wait


@pytest.mark.parametrize("header", [None, "", "soon", "-5", "1.5", "٣", "9" * 40, "Xyz, 99 Foo"])
def test_what_is_neither_form_is_nothing(header: str | None) -> None:
    assert retry_after(header, NOW) is None


def test_the_first_look_is_never_before_100_ms() -> None:
    assert next(Polling(first_s=0, interval_s=0).delays()) == 0.1


def test_the_waits_grow_to_a_ceiling() -> None:
    waits = list(islice(Polling(first_s=0.5, interval_s=1, max_s=2).delays(), 5))
    assert waits == [0.5, 1, 1.5, 2, 2]

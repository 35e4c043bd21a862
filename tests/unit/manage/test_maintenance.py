from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certshelf.errors import ConfigError
from certshelf.manage.maintenance import in_window, next_opening, parse_windows

MONDAY = datetime(2030, 1, 7, tzinfo=UTC)


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return MONDAY + timedelta(days=day, hours=hour, minutes=minute)


def test_without_windows_it_is_always_open() -> None:
    assert in_window(parse_windows(""), MONDAY)
    assert next_opening(parse_windows(""), MONDAY) == MONDAY


@pytest.mark.parametrize(
    ("day", "hour", "minute", "is_open"),
    [(0, 2, 0, True), (0, 1, 59, False), (0, 5, 0, False), (4, 4, 59, True), (5, 3, 0, False)],
)
def test_a_window_holds_its_first_minute_and_not_its_last(
    day: int, hour: int, minute: int, is_open: bool
) -> None:
    assert in_window(parse_windows("mon-fri 02:00-05:00"), at(day, hour, minute)) is is_open


def test_a_window_past_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    windows = parse_windows("sun 22:00-04:00")
    assert in_window(windows, at(6, 23))
    assert in_window(windows, at(7, 3, 59))
    assert not in_window(windows, at(6, 3))
    assert not in_window(windows, at(7, 22))


def test_days_go_round_the_week_and_24_00_is_the_end_of_a_day() -> None:
    windows = parse_windows("sat-mon 00:00-24:00")
    assert [in_window(windows, at(day, 23, 59)) for day in range(7)] == [
        *(True, False, False, False, False, True, True)
    ]


def test_windows_are_in_the_time_of_their_zone() -> None:
    windows = parse_windows("02:00-03:00", "Europe/Berlin")
    assert in_window(windows, at(0, 1, 30))
    assert not in_window(windows, at(0, 2, 30))


def test_the_next_opening_is_found_a_week_ahead() -> None:
    assert next_opening(parse_windows("mon 02:00-03:00"), at(0, 4)) == at(7, 2)
    assert next_opening(parse_windows("mon 02:00-03:00; wed 01:00-02:00"), at(0, 4)) == at(2, 1)


@given(st.integers(0, 7 * 1440), st.integers(0, 1439), st.integers(1, 1440))
def test_the_next_opening_lies_in_a_window_and_nothing_before_it_does(
    now: int, start: int, end: int
) -> None:
    if start == end:
        return
    clock = "{:02}:{:02}-{:02}:{:02}".format(*divmod(start, 60), *divmod(end, 60))
    windows = parse_windows(f"tue,thu {clock}")
    moment = MONDAY + timedelta(minutes=now)
    opening = next_opening(windows, moment)
    assert in_window(windows, opening)
    assert opening == moment or not in_window(windows, opening - timedelta(minutes=1))


@pytest.mark.parametrize(
    "text", ["noon", "02:00", "mon 2:00-3:00", "xyz 02:00-03:00", "02:60-03:00", "24:00-25:00"]
)
def test_what_is_no_window_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_windows(text)
    assert "mon-fri" in caught.value.hint


def test_a_zone_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigError, match="no time zone"):
        parse_windows("", "Mars/Olympus")

"""Maintenance windows: when files may be deployed. Pure functions of the windows and a moment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from certshelf.errors import ConfigError

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_RANGE = re.compile(r"(?:([a-z,-]+) )?(\d\d):(\d\d)-(\d\d):(\d\d)", re.ASCII)
_EXAMPLE = "as in `mon-fri 02:00-05:00; sun 22:00-04:00`"


@dataclass(frozen=True, slots=True)
class Window:
    """Minutes of a day, on weekdays (0 is Monday). end <= start: it goes on after midnight."""

    days: frozenset[int]
    start: int
    end: int

    def holds(self, weekday: int, minute: int) -> bool:
        """Whether a minute lies in it; what goes on after midnight belongs to the day before."""
        if self.start < self.end:
            return weekday in self.days and self.start <= minute < self.end
        if minute >= self.start:
            return weekday in self.days
        return minute < self.end and (weekday - 1) % 7 in self.days


@dataclass(frozen=True, slots=True)
class Windows:
    """All windows, in the time of one zone; none at all: always open."""

    windows: tuple[Window, ...] = ()
    zone: tzinfo = UTC


def in_window(windows: Windows, now: datetime) -> bool:
    """Whether files may be deployed at a moment (aware)."""
    local = now.astimezone(windows.zone)
    minute = local.hour * 60 + local.minute
    return not windows.windows or any(w.holds(local.weekday(), minute) for w in windows.windows)


def next_opening(windows: Windows, now: datetime) -> datetime:
    """The first moment, in UTC, at or after now that lies in a window."""
    if in_window(windows, now):
        return now
    today = now.astimezone(windows.zone).date()
    opening = [
        datetime.combine(day, _time(window.start), windows.zone).astimezone(UTC)
        for window in windows.windows
        for day in (today + timedelta(days=n) for n in range(9))
        if day.weekday() in window.days
    ]
    return min(moment for moment in opening if moment > now)


def parse_windows(text: str, zone: str = "") -> Windows:
    """Windows from the settings: `[DAYS ]HH:MM-HH:MM`, separated by semicolons.

    DAYS: `mon-fri`, `sat,sun`; without them every day. zone: an IANA name, "" for UTC.
    ConfigError for anything else.
    """
    parts = [part.strip().lower() for part in text.split(";") if part.strip()]
    return Windows(tuple(_window(part) for part in parts), _zone(zone))


def _window(text: str) -> Window:
    found = _RANGE.fullmatch(" ".join(text.split()))
    if found is None:
        raise _refuse(text)
    days, *numbers = found.groups()
    hour, minute, end_hour, end_minute = map(int, numbers)
    start, end = hour * 60 + minute, end_hour * 60 + end_minute
    if max(minute, end_minute) > 59 or start >= 1440 or end > 1440 or start == end:
        raise _refuse(text)
    return Window(_days(days, text), start, end)


def _days(text: str | None, whole: str) -> frozenset[int]:
    if text is None:
        return frozenset(range(7))
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS:
            raise _refuse(whole)
        begin, length = _DAYS.index(first), _DAYS.index(last or first) - _DAYS.index(first)
        found |= {(begin + n) % 7 for n in range(length % 7 + 1)}
    return frozenset(found)


def _zone(name: str) -> tzinfo:
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"service.time_zone: no time zone {name[:64]!r}",
            hint="an IANA name as in Europe/Berlin; on Windows: pip install tzdata",
        ) from None


def _refuse(text: str) -> ConfigError:
    return ConfigError(f"service.windows: no window: {text[:64]!r}", hint=_EXAMPLE)


def _time(minute: int) -> time:
    return time(minute // 60, minute % 60)

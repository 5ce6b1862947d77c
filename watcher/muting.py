"""Is it a time at which nobody wants to be told? Time intervals, as Alertmanager has them.

A moment is within an interval if it fits each of the fields that are given: times of day,
weekdays, days of the month, months, years; a field that is left out fits always. Ranges of days,
months and years include both ends, a range of times ends just before its end. All of it by the
clock on the wall of the interval's own time zone.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from watcher.model import WallTime

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = tuple(name.lower() for name in (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
))  # fmt: skip
_TIMES = re.compile(r"(\d\d):(\d\d)\s*-\s*(\d\d):(\d\d)")
_DAY = 24 * 60

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Interval:
    """``times`` in minutes of the day, end not included; Monday is 0; January is 1.

    ``days_of_month`` below zero count from the month's end: -1 is its last day.
    """

    times: tuple[Range, ...] = ()
    weekdays: tuple[Range, ...] = ()
    days_of_month: tuple[Range, ...] = ()
    months: tuple[Range, ...] = ()
    years: tuple[Range, ...] = ()
    zone: tzinfo = UTC

    def holds(self, now: WallTime) -> bool:
        """Whether ``now`` is within the interval."""
        at = datetime.fromtimestamp(now, self.zone)
        minute = 60 * at.hour + at.minute
        return (
            (not self.times or any(begin <= minute < end for begin, end in self.times))
            and _within(at.weekday(), self.weekdays)
            and _within(at.month, self.months)
            and _within(at.year, self.years)
            and (not self.days_of_month or _on_day(at, self.days_of_month))
        )


@dataclass(frozen=True, slots=True)
class Hours:
    """When a route tells: not within ``mute``, and only within ``active`` if there is any."""

    mute: tuple[Interval, ...] = ()
    active: tuple[Interval, ...] = ()

    def quiet(self, now: WallTime) -> bool:
        """Whether what is owed has to wait at ``now``."""
        if any(interval.holds(now) for interval in self.mute):
            return True
        return bool(self.active) and not any(interval.holds(now) for interval in self.active)


ALWAYS = Hours()


def _within(value: int, ranges: Sequence[Range]) -> bool:
    return not ranges or any(begin <= value <= end for begin, end in ranges)


def _on_day(at: datetime, ranges: Sequence[Range]) -> bool:
    """Whether it is one of these days. A range that reaches out of the month is cut to it."""
    last = calendar.monthrange(at.year, at.month)[1]
    for begin, end in ranges:
        first = begin if begin > 0 else last + 1 + begin
        final = end if end > 0 else last + 1 + end
        if first <= at.day <= final:
            return True
    return False


# ------------------------------------------------------------------------- as it is written


def times(text: str) -> Range:
    """Read "22:00-24:00" as minutes of the day. ValueError says what is wrong with it."""
    match = _TIMES.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'"{text}" is no range of times; write "09:00-17:00"')
    hour, minute, end_hour, end_minute = map(int, match.groups())
    begin, end = 60 * hour + minute, 60 * end_hour + end_minute
    if max(minute, end_minute) > 59 or max(begin, end) > _DAY:
        raise ValueError(f'"{text}": a day is from 00:00 to 24:00')
    if begin >= end:
        raise ValueError(f'"{text}": must end later; write two ranges for one over midnight')
    return begin, end


def weekdays(text: str) -> Range:
    """Read "saturday" or "monday:friday"."""
    return _named(text, WEEKDAYS, 0)


def months(text: str) -> Range:
    """Read "december", "june:august" or "6:8"."""
    return _named(text, MONTHS, 1)


def days_of_month(text: str) -> Range:
    """Read "1", "1:7" or "-3:-1", days from the month's end."""
    begin, end = _numbers(text)
    if not all(1 <= abs(day) <= 31 for day in (begin, end)):
        raise ValueError(f'"{text}": days are from 1 to 31, or from -1 to -31')
    if begin < 0 < end:
        raise ValueError(f'"{text}": must end at the month\'s end, too; write "{begin}:-1"')
    if begin > end and (begin < 0) == (end < 0):
        raise ValueError(f'"{text}": must end later than it begins')
    return begin, end


def years(text: str) -> Range:
    """Read "2026" or "2026:2028"."""
    return _forward(_numbers(text), text)


def _named(text: str, names: Sequence[str], first: int) -> Range:
    found = []
    for part in _ends(text.lower()):
        number = int(part) - first if part.isdecimal() and first else -1
        if part in names:
            number = names.index(part)
        if not 0 <= number < len(names):
            raise ValueError(f'"{part.strip()}" is none of {", ".join(names)}')
        found.append(number + first)
    return _forward((found[0], found[1]), text)


def _numbers(text: str) -> Range:
    try:
        begin, end = (int(part) for part in _ends(text))
    except ValueError:
        raise ValueError(f'"{text}" is no range of numbers; write "1" or "1:7"') from None
    return begin, end


def _ends(text: str) -> tuple[str, str]:
    begin, colon, end = (part.strip() for part in text.partition(":"))
    return begin, end if colon else begin


def _forward(found: Range, text: str) -> Range:
    if found[0] > found[1]:
        raise ValueError(f'"{text}": must end later than it begins')
    return found

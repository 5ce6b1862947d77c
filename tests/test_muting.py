"""When nobody wants to be told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watcher import muting
from watcher.config import parse_config
from watcher.errors import InvalidInput
from watcher.muting import ALWAYS, Hours, Interval

_moments = st.integers(946_684_800, 4_102_444_800).map(lambda s: datetime.fromtimestamp(s, UTC))
_days = st.integers(1, 31)
_plain = settings(deadline=None)


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@given(_moments)
@_plain
def test_an_interval_without_fields_holds_always_and_no_interval_mutes_never(
    moment: datetime,
) -> None:
    assert Interval().holds(moment.timestamp())
    assert not ALWAYS.quiet(moment.timestamp())
    assert Hours(mute=(Interval(),), active=(Interval(),)).quiet(moment.timestamp())


@given(_moments, st.integers(0, 1438))
@_plain
def test_two_halves_of_a_day_are_a_day_and_do_not_overlap(moment: datetime, cut: int) -> None:
    first, second = Interval(times=((0, cut + 1),)), Interval(times=((cut + 1, 1440),))
    assert first.holds(moment.timestamp()) is not second.holds(moment.timestamp())


@given(_moments, _days)
@_plain
def test_the_last_days_of_a_month_are_those_that_are_followed_by_few(
    moment: datetime, count: int
) -> None:
    later = moment + timedelta(days=count)
    within = (later.year, later.month) != (moment.year, moment.month)
    assert Interval(days_of_month=((-count, -1),)).holds(moment.timestamp()) is within


@given(_moments, st.integers(0, 6), st.integers(1, 12), _days)
@_plain
def test_every_field_that_is_given_must_fit(
    moment: datetime, weekday: int, month: int, day: int
) -> None:
    one = Interval(
        weekdays=((weekday, weekday),), months=((month, month),), days_of_month=((day, day),)
    )
    fits = (moment.weekday(), moment.month, moment.day) == (weekday, month, day)
    assert one.holds(moment.timestamp()) is fits


@given(_moments, st.tuples(_days, _days).map(sorted))
@_plain
def test_days_mute_or_leave_active_but_never_both(moment: datetime, days: list[int]) -> None:
    one = Interval(days_of_month=((days[0], days[1]),))
    muted = Hours(mute=(one,)).quiet(moment.timestamp())
    assert muted is not Hours(active=(one,)).quiet(moment.timestamp())


def test_times_are_those_of_the_location_over_changes_of_its_clocks() -> None:
    nine = Interval(times=((540, 600),), zone=ZoneInfo("Europe/Berlin"))
    for day in ("2026-03-28", "2026-03-29", "2026-10-25", "2026-10-26"):
        assert nine.holds(at(f"{day}T09:00", "Europe/Berlin"))
        assert not nine.holds(at(f"{day}T10:00", "Europe/Berlin"))
    assert nine.holds(at("2026-07-01T07:30"))
    assert nine.holds(at("2026-01-01T08:30"))


def test_ranges_are_read_as_they_are_written() -> None:
    assert muting.times("22:00-24:00") == (1320, 1440)
    assert muting.weekdays("Monday:friday") == (0, 4)
    assert muting.months("june:8") == (6, 8)
    assert muting.days_of_month("-1") == (-1, -1)
    assert muting.days_of_month("25:-1") == (25, -1)
    assert muting.years("2026:2028") == (2026, 2028)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (muting.times, "22:00-07:00"),
        (muting.times, "9-17"),
        (muting.times, "10:60-11:00"),
        (muting.times, "10:00-24:01"),
        (muting.weekdays, "funday"),
        (muting.weekdays, "friday:monday"),
        (muting.weekdays, "1"),
        (muting.months, "13"),
        (muting.months, "0"),
        (muting.months, "may:"),
        (muting.days_of_month, "0"),
        (muting.days_of_month, "7:1"),
        (muting.days_of_month, "-3:5"),
        (muting.days_of_month, "32"),
        (muting.years, "soon"),
    ],
)
def test_what_makes_no_sense_is_refused(read: object, text: str) -> None:
    with pytest.raises(ValueError, match=r"write|must|none of|from"):
        read(text)  # type: ignore[operator]


CONFIG = """
[[roots]]
path = "/data"
[[time_intervals.nights]]
times = ["22:00-24:00"]
location = "Europe/Berlin"
[[time_intervals.nights]]
times = ["00:00-07:00"]
location = "Europe/Berlin"
[route]
receiver = "console"
mute_time_intervals = ["nights"]
[receivers.console]
type = "console"
"""


def test_a_route_names_intervals_of_which_any_mutes_it() -> None:
    (route,) = parse_config(CONFIG, Path("w.toml")).routes
    quiet = [hour for hour in range(24) if route.hours.quiet(at(f"2026-01-05T{hour:02}:30"))]
    assert quiet == [0, 1, 2, 3, 4, 5, 21, 22, 23]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('["nights"]', '["night"]', 'no time interval "night"; did you mean "nights"?'),
        ('"Europe/Berlin"', '"Mars/Base"', "no time zone"),
        ('"22:00-24:00"', '"22:00-07:00"', "over midnight"),
        ('["22:00-24:00"]', '"22:00-24:00"', "list of texts"),
    ],
)
def test_a_mistake_in_an_interval_is_named_with_its_place(old: str, new: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_config(CONFIG.replace(old, new, 1), Path("w.toml"))
    (problem,) = caught.value.problems
    assert said in str(problem)
    assert problem.line > 0

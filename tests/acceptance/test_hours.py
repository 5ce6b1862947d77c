"""Routes that are quiet at times: what is owed waits, and is told if it is still so."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tests.acceptance.stage import START, Stage
from watcher.muting import Hours, Interval
from watcher.routing import Route

# the minute in which a test begins
_AT = datetime.fromtimestamp(START, UTC)
_MINUTE = 60 * _AT.hour + _AT.minute
THIS_MINUTE = Interval(times=((_MINUTE, _MINUTE + 1),))
CHANGE = 60 - _AT.second
ROUTE = Route("hook", repeat_interval=10)


def test_mute_times_hold_back_what_still_fires_when_they_end(tmp_path: Path) -> None:
    with Stage(tmp_path, replace(ROUTE, hours=Hours(mute=(THIS_MINUTE,)))) as on:
        hook = on.collector("hook")
        on.fire(1, "lasting")
        on.fire(2, "passing", run="other")
        on.resolve(9, "passing")
        on.at(20, on.restart)
        on.run(CHANGE + 5)
        hook.want((CHANGE, CHANGE, ["lasting"]))


def test_out_of_active_times_reminders_and_ends_wait(tmp_path: Path) -> None:
    with Stage(tmp_path, replace(ROUTE, hours=Hours(active=(THIS_MINUTE,)))) as on:
        hook = on.collector("hook")
        on.fire(CHANGE - 2, "before")
        on.resolve(CHANGE + 1, "before")
        on.fire(CHANGE + 2, "after", run="other")
        on.at(CHANGE + 20, lambda: setattr(on, "routes", (ROUTE,)))  # reloaded: always active
        on.run(CHANGE + 25)
        late = CHANGE + 20
        hook.want(
            (CHANGE - 2, CHANGE - 2, ["before"]),
            (late, late, ["before resolved"]),
            (late, late, ["after"]),
        )


def test_a_quiet_route_keeps_the_other_one_telling(tmp_path: Path) -> None:
    quiet = Route("quiet", go_on=True, hours=Hours(mute=(THIS_MINUTE,)))
    with Stage(tmp_path, quiet, Route("loud")) as on:
        silent, loud = on.collector("quiet"), on.collector("loud")
        on.fire(1, "test")
        on.run(CHANGE - 1)
        silent.want()
        loud.want((1, 1, ["test"]))

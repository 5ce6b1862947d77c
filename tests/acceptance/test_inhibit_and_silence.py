"""Alertmanager's acceptance tests of inhibition and silences, by name, on our own clock.

Our inhibitions are not configured: they say which finding explains which (``precedence.py``), of
one attempt of one run, and that a root which cannot be read explains all that is under it. Hence
TestAlwaysInhibiting (a resolution inhibits nothing, and is itself never inhibited) reads: the
end of an alert is told to whoever heard of its beginning.
"""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.stage import START, Stage
from watcher.routing import Route

ROUTE = Route("hook", group_wait=1, group_interval=1, repeat_interval=1000)


def test_inhibiting_a_cause_hides_its_consequences_until_it_is_over(tmp_path: Path) -> None:
    """TestInhibiting."""
    with Stage(tmp_path, ROUTE) as on:
        hook = on.collector("hook")
        on.fire(1, "Spike", detector="spike")
        on.fire(3, "NaN", detector="nan")
        on.fire(3, "Diverges", detector="divergence")
        on.fire(3, "Elsewhere", detector="divergence", run="other")
        on.resolve(8, "NaN")
        on.run(20)
        hook.want(
            (2, 2, ["Spike"]),
            (4, 4, ["NaN"]),
            (4, 4, ["Elsewhere"]),
            (8, 8, ["NaN resolved", "Diverges"]),
        )


def test_always_inhibiting_an_inhibited_alert_still_ends_for_those_who_heard_of_it(
    tmp_path: Path,
) -> None:
    """TestAlwaysInhibiting."""
    with Stage(tmp_path, ROUTE) as on:
        hook = on.collector("hook")
        on.fire(1, "Spike", detector="spike")
        on.fire(3, "NaN", detector="nan")
        on.resolve(5, "Spike")
        on.resolve(7, "NaN")
        on.run(20)
        hook.want(
            (2, 2, ["Spike"]),
            (4, 4, ["NaN"]),
            (5, 5, ["Spike resolved"]),
            (7, 7, ["NaN resolved"]),
        )


def test_silencing_mutes_what_matches_and_nothing_else(tmp_path: Path) -> None:
    """TestSilencing."""
    with Stage(tmp_path, ROUTE) as on:
        hook = on.collector("hook")
        on.fire(1, "test1")
        on.silence(2, 100, alert="test1")
        on.fire(4, "test2", run="other")
        on.run(30)
        hook.want((5, 5, ["test2"]))


def test_silence_delete_what_still_fires_is_told_when_a_silence_is_withdrawn(
    tmp_path: Path,
) -> None:
    """TestSilenceDelete and TestSilenceExpiration: withdrawn early, or run out."""
    with Stage(tmp_path, ROUTE) as on:
        hook = on.collector("hook")
        on.silence(1, 10, alert="expires")
        on.silence(2, 1000, alert="withdrawn")
        on.fire(3, "expires")
        on.fire(3, "withdrawn", run="other")
        on.at(15, lambda: on.store.expire_silence("s2", START + 15))
        on.run(40)
        hook.want((10, 10, ["expires"]), (15, 15, ["withdrawn"]))


def test_a_silence_hides_reminders_but_no_resolution(tmp_path: Path) -> None:
    """Unlike Alertmanager, which mutes the end as well: who heard of a fault hears of its end."""
    with Stage(tmp_path, Route("hook", repeat_interval=5)) as on:
        hook = on.collector("hook")
        on.fire(1, "test")
        on.silence(2, 1000, run="vision/*")
        on.resolve(20, "test")
        on.run(30)
        hook.want((1, 1, ["test"]), (20, 20, ["test resolved"]))

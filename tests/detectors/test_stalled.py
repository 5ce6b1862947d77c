from __future__ import annotations

import dataclasses

import pytest

from watcher.detectors import Inputs, RunFacts
from watcher.detectors.stalled import Stalled, detect
from watcher.model import Severity, Status

RULE = Stalled()
RUN = RunFacts(seen_at=1e6, interval=10.0, longest_pause=30.0, last_step=517, points=517)


def after(silence, **facts):
    return detect(Inputs({}, dataclasses.replace(RUN, **facts)), RULE, 1e6 + silence)


def test_a_long_silence_is_a_warning_from_the_last_step_on():
    found = after(900.0)
    assert (found.status, found.severity) == (Status.BREACH, Severity.WARNING)
    assert (found.onset, found.value) == (517, 900.0)
    assert found.reason == (
        "nothing was written for 15 min after step 517; it used to write every 10 s, "
        "and never paused for more than 30 s"
    )
    assert found.advice == "stalled"


def test_a_silence_of_hours_is_critical():
    assert after(5 * 3600.0).severity is Severity.CRITICAL


@pytest.mark.parametrize("step", [10, 29, 30, 99, 100, 1500, 9999, 40_000, 124_999])
def test_a_run_that_stops_at_a_round_step_may_just_have_ended(step):
    found = after(900.0, last_step=step)
    assert (found.status, found.severity) == (Status.BREACH, Severity.INFO)
    assert "a round number: it may just have ended" in found.reason
    assert after(1e6, last_step=step).severity is Severity.INFO


@pytest.mark.parametrize("step", [0, 3, 12_345, 13, 98, 101, 1300, 9998])
def test_other_steps_are_none(step):
    assert after(900.0, last_step=step).severity is Severity.WARNING


def test_a_silence_within_a_writers_buffering_says_nothing():
    assert after(300.0).status is Status.OK


@pytest.mark.parametrize(
    ("facts", "quiet", "loud"),
    [
        ({"longest_pause": 1000.0}, 2000.0, 2001.0),
        ({"interval": 900.0}, 3600.0, 3601.0),
        ({"interval": 30.0}, 600.0, 601.0),
        ({"interval": 100.0}, 1200.0, 1201.0),
    ],
)
def test_the_run_itself_says_how_long_is_usual(facts, quiet, loud):
    assert after(quiet, **facts).status is Status.OK
    assert after(loud, **facts).status is Status.BREACH


def test_a_run_that_is_complete_has_not_stalled():
    assert after(1e6, finished="all steps were made").status is Status.OK


def test_a_run_that_wrote_only_once_is_unknown():
    assert after(1e6, interval=float("nan")).status is Status.UNKNOWN


def test_it_is_over_when_bytes_arrive():
    assert after(0.0).status is Status.OK

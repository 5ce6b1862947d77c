from __future__ import annotations

import numpy as np
import pytest

from tests.detectors.curves import window_of
from watcher.detectors import Inputs, RunFacts
from watcher.detectors.throughput import Throughput, detect
from watcher.model import Severity, Status
from watcher.series import Window

RULE = Throughput()


def paced(seconds):
    """Say what is thought of points that came ``seconds`` apart, 10 steps each."""
    wall = 1e9 + np.concatenate(([0.0], np.cumsum(seconds)))
    window = Window()
    window.extend(10 * np.arange(len(wall), dtype=np.int64), wall, np.ones(len(wall)))
    return detect(Inputs({"value": window}), RULE, 0.0)


def test_steps_that_take_five_times_as_long_are_a_hint_with_both_paces():
    found = paced([2.0] * 200 + [10.0] * 60)
    assert (found.status, found.severity) == (Status.BREACH, Severity.INFO)
    assert found.onset == 10 * (260 - 47)
    assert "a step takes 1 s" in found.reason
    assert "5.0 times as long as the 0.2 s before" in found.reason
    assert found.value == pytest.approx(1.0)
    assert found.advice == "throughput"


def test_twice_as_long_says_nothing():
    assert paced([2.0] * 200 + [4.0] * 60).status is not Status.BREACH


def test_a_long_evaluation_among_short_steps_says_nothing():
    assert paced([2.0] * 200 + [1.0] * 30 + [3600.0] + [2.0] * 29).status is not Status.BREACH


def test_a_slowness_that_passes_says_nothing():
    assert paced([2.0] * 200 + [20.0] * 30 + [2.0] * 18).status is not Status.BREACH


def test_it_is_over_when_the_pace_is_back():
    assert paced([2.0] * 200 + [10.0] * 60 + [2.0] * 60).status is Status.OK


def test_what_stays_slow_is_not_over_when_all_that_is_held_is_slow():
    said = paced([2.0] * 200 + [10.0] * 900)
    assert said.status is Status.UNKNOWN
    assert paced([2.0] * 200 + [10.0] * 900 + [2.0] * 60).status is Status.OK


def test_it_is_over_when_most_of_the_pace_is_back():
    assert paced([2.0] * 200 + [7.0] * 60 + [2.6] * 60).status is Status.OK


@pytest.mark.parametrize("pause", [60.0, 120.0, 1200.0])
def test_regular_evaluations_hide_no_slowness(pause):
    seconds = np.where(np.arange(560) < 500, 1.0, 6.0)
    seconds[::40] += pause
    assert paced(seconds).status is Status.BREACH


def test_a_clock_that_stands_still_or_runs_back_says_nothing():
    assert paced([0.0] * 300).status is not Status.BREACH
    assert paced([-1.0] * 300).status is not Status.BREACH


def test_too_few_points_are_unknown():
    assert paced([2.0] * 20 + [20.0] * 10).status is Status.UNKNOWN


def test_of_a_short_run_a_third_of_its_points_will_do():
    """Three dozen epochs, the last dozen of which took three times as long."""
    found = paced([60.0] * 30 + [200.0] * 15)
    assert (found.status, found.onset) == (Status.BREACH, 310)
    assert paced([60.0] * 40 + [200.0] * 8).status is not Status.BREACH


def test_a_pace_that_creeps_away_is_measured_by_what_it_was_at_its_best():
    found = paced(np.concatenate((np.full(60, 2.0), np.linspace(2.0, 11.0, 400))))
    assert found.status is Status.BREACH
    assert paced(np.linspace(2.0, 4.0, 500)).status is not Status.BREACH


@pytest.mark.parametrize(("now", "status"), [(8.9, Status.BREACH), (12.0, Status.UNKNOWN)])
def test_a_throughput_that_is_logged_tells_of_a_smaller_loss(now, status):
    rate = np.concatenate((np.full(200, 16.0), np.full(60, now)))
    rate *= 1 + 0.05 * np.random.default_rng(3).standard_normal(260)
    rate[::20] = 2.0  # an evaluation in between
    windows = {"value": window_of(np.ones(260)), "throughput": window_of(rate)}
    found = detect(Inputs(windows), RULE, 0.0)
    assert found.status is status
    if status is Status.BREACH:
        assert found.onset == 213
        assert "the throughput that is logged fell from 16" in found.reason
        assert "to 8.837 by about step 213" in found.reason
    agent = Inputs(windows, RunFacts(reinforcement=True))  # an average since the start
    assert detect(agent, RULE, 0.0).status is Status.UNKNOWN

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.detectors.curves import looks, noise, say, window_of
from watcher.detectors import Inputs, RunFacts
from watcher.detectors.oscillation import Oscillation, detect
from watcher.model import Severity, Status

RULE = Oscillation()
FLOOR = [0.2566, 0.2463, 0.2579, 0.2437, 0.2556, 0.2457, 0.2566]
FLOOR += [0.2442, 0.2562, 0.2447, 0.2571, 0.2442, 0.2504]


def swinging(n=300, begins=150, swing=0.35, period=6.0, seed=0):
    i = np.arange(n)
    base = 0.5 + 1.5 * np.exp(-i / 35)
    sine = swing * np.sin(2 * np.pi * i / period)
    return base * np.where(i < begins, 1.0, 1 + sine) * noise(n, 0.03, seed)


@pytest.mark.parametrize("seed", range(5))
def test_swings_that_set_in_are_found_with_their_period_and_about_where_they_began(seed):
    said = looks(detect, RULE, value=swinging(seed=seed))
    found = [v for v in said.values() if v.status is Status.BREACH]
    assert found
    assert found[0].severity is Severity.WARNING
    assert all(abs(v.onset - 151) <= 40 for v in found)
    assert any("every 6.0 points" in v.reason for v in found)
    assert found[0].advice == "oscillation"


def test_a_short_curve_that_alternates_on_the_floor_is_found_with_its_levels():
    found = say(detect, RULE, value=FLOOR)
    assert found.status is Status.BREACH
    assert "between 0.2442 and 0.257 every 2.0 points" in found.reason
    assert (found.best, found.best_value) == (4, 0.2437)


@pytest.mark.parametrize("seed", range(5))
def test_noise_however_large_says_nothing(seed):
    said = looks(detect, RULE, value=noise(300, 0.3, seed))
    assert all(v.status is not Status.BREACH for v in said.values())


def test_swings_on_a_descent_are_none():
    i = np.arange(300)
    value = np.exp(-i / 60) * np.where(i < 150, 1.0, 1 + 0.2 * np.sin(i)) * noise(300, 0.03)
    assert say(detect, RULE, value=value).status is not Status.BREACH


def test_swings_of_the_learning_rate_are_its_own():
    lr = 1e-3 * (1.2 + np.sin(2 * np.pi * np.arange(300) / 6.0))
    assert say(detect, RULE, value=swinging(n=230)).status is Status.BREACH
    assert say(detect, RULE, value=swinging(n=230), lr=lr[:230]).status is Status.OK


def test_it_is_over_when_the_loss_is_calm():
    value = np.concatenate((swinging(n=230), 0.5 * noise(200, 0.03, 9)))
    assert say(detect, RULE, value=value).status is Status.OK


def test_too_few_points_are_unknown():
    assert say(detect, RULE, value=FLOOR[:11]).status is Status.UNKNOWN


def test_reinforcement_and_adversarial_runs_are_left_alone():
    for run in (RunFacts(reinforcement=True), RunFacts(adversarial=True)):
        inputs = Inputs({"value": window_of(swinging(n=230))}, run)
        assert detect(inputs, RULE, 0.0).status is Status.OK


@pytest.mark.parametrize("seed", range(8))
def test_noise_that_wanders_is_no_swing_and_a_swing_in_it_is(seed):
    rng = np.random.default_rng(seed)
    wander = rng.normal(0, 0.06 * math.sqrt(1 - 0.9**2), 600)
    for i in range(1, 600):
        wander[i] += 0.9 * wander[i - 1]
    curve = (1 + 3 * (1 + np.arange(600) / 20) ** -0.7) * np.exp(wander)
    said = looks(detect, RULE, value=curve)
    assert all(v.status is not Status.BREACH for v in said.values())
    i = np.arange(300)
    curve[300:] *= 1 + 0.45 * np.sin(2 * np.pi * i / 9)
    said = looks(detect, RULE, value=curve)
    assert any(v.status is Status.BREACH for v in said.values())


@pytest.mark.parametrize("often", [1, 40])
def test_a_learning_rate_that_swings_as_well_excuses_it_however_often_it_is_logged(often):
    value = swinging(begins=0, period=7.0)
    rate = 1e-3 * (1.1 + np.sin(np.arange(300 * often) / often * 2 * np.pi / 7))
    windows = {"value": window_of(value, every=often), "lr": window_of(rate)}
    assert say(detect, RULE, value=windows["value"]).status is Status.BREACH
    assert say(detect, RULE, **windows).status is not Status.BREACH


@pytest.mark.parametrize("seed", range(5))
def test_swings_that_have_only_begun_are_not_dated_back_into_the_descent(seed):
    value = swinging(n=400, begins=300, period=9.6, seed=seed)
    said = looks(detect, RULE, value=value)
    first = next(v for v in said.values() if v.status is Status.BREACH)
    assert 270 <= first.onset <= 330

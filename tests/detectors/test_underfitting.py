from __future__ import annotations

import numpy as np
import pytest

from tests.detectors.curves import looks, noise, say
from watcher.detectors.underfitting import Underfitting, detect
from watcher.model import Severity, Status

RULE = Underfitting()


def level(n: int, at: float, spread: float, seed: int):
    u = np.linspace(0, 1, n)
    return 2.3 * (at + (1 - at) * np.exp(-u / 0.03)) * noise(n, spread, seed)


@pytest.mark.parametrize("seed", range(8))
def test_both_sides_level_and_high_are_found(seed):
    train, val = level(80, 0.85, 0.01, seed), level(80, 0.86, 0.01, seed + 9)
    said = looks(detect, RULE, train=train, val=val)
    assert said[80].status is Status.BREACH
    assert said[80].advice == "underfitting"
    assert said[80].severity is Severity.INFO  # the data may allow no less
    assert "% of the first loss" in said[80].reason
    assert said[80].onset < 25


def test_a_good_fit_a_wide_gap_and_a_loss_still_falling_are_well():
    n = 80
    high, low = level(n, 0.85, 0.003, 1), level(n, 0.2, 0.003, 2)
    assert say(detect, RULE, train=low, val=low).status is Status.OK
    assert say(detect, RULE, train=high, val=high * 1.3).status is Status.OK
    falling = 2.3 * np.linspace(1, 0.7, n)
    assert say(detect, RULE, train=falling, val=falling).status is Status.OK


def test_a_first_epoch_that_learns_nearly_everything_is_no_underfitting():
    floor = 0.3 * (1 + 0.04 * np.exp(-np.linspace(0, 9, 40)))
    train, val = np.r_[0.9, floor], np.r_[0.91, 1.05 * floor]
    assert looks(detect, RULE, train=train, val=val)[41].status is Status.OK
    far = np.r_[400.0, level(40, 0.85, 0.003, 1)]
    assert say(detect, RULE, train=far, val=far).status is Status.BREACH


def test_a_target_decides_what_is_high():
    low = level(80, 0.4, 0.003, 2)
    said = say(detect, Underfitting(target=0.5), train=low, val=low)
    assert (said.status, said.severity) == (Status.BREACH, Severity.WARNING)
    assert say(detect, Underfitting(target=1.5), train=low, val=low).status is Status.OK


def test_few_points_are_unknown():
    values = level(7, 0.85, 0.0, 0)
    assert say(detect, RULE, train=values, val=values).status is Status.UNKNOWN


def test_level_at_chance_on_both_sides_is_a_warning_that_says_so():
    rng = np.random.default_rng(0)
    train = np.concatenate(([0.793, 0.71], np.full(28, 0.6932))) + rng.normal(0, 0.0005, 30)
    val = np.concatenate(([0.73, 0.70], np.full(28, 0.694))) + rng.normal(0, 0.001, 30)
    found = say(detect, Underfitting(), train=train, val=val)
    assert (found.status, found.severity) == (Status.BREACH, Severity.WARNING)
    assert "chance level, ln(2) = 0.6931" in found.reason
    assert found.advice == "slow_learning_chance"
    elsewhere = say(detect, Underfitting(), train=train + 0.05, val=val + 0.05)
    assert (elsewhere.status, elsewhere.severity) == (Status.BREACH, Severity.INFO)

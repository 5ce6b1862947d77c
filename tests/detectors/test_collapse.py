from __future__ import annotations

import numpy as np
import pytest

from tests.detectors.curves import looks, say
from watcher.detectors.collapse import Collapse, detect
from watcher.model import Severity, Status

RULE = Collapse()


def climb(n):
    return 1 / (1 + np.exp(-(np.linspace(0, 1, n) - 0.3) * 12))


def wandering(n, rng, spread=0.05):
    white = rng.normal(0, spread, n)
    for i in range(1, n):
        white[i] += 0.9 * white[i - 1]
    return white


@pytest.mark.parametrize("scale", [1.0, 3000.0, -1.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_return_that_is_lost_for_good_is_found(seed, scale):
    rng = np.random.default_rng(seed)
    value = climb(600)
    value[360:] = 0.1
    value = value + 0.3 * wandering(600, rng)
    value = abs(scale) * value - (5 if scale < 0 else 0)  # returns below zero are returns
    said = looks(detect, RULE, value=value)
    fired = [n for n, v in said.items() if v.status is Status.BREACH]
    assert 400 < fired[0] < 560
    assert said[max(said)].severity is Severity.WARNING
    assert 340 <= said[max(said)].onset <= 385
    assert 180 < said[max(said)].best <= 362
    assert "% of what it had climbed is lost" in said[max(said)].reason


def test_a_part_that_is_lost_is_a_hint_and_less_is_nothing():
    value = climb(600) + np.random.default_rng(1).normal(0, 0.02, 600)
    for left, status, severity in (
        (0.3, Status.BREACH, Severity.INFO),
        (0.5, Status.UNKNOWN, None),
    ):
        lost = np.where(np.arange(600) < 360, value, value * left)
        said = say(detect, RULE, value=lost)
        assert (said.status, said.severity) == (status, severity)


@pytest.mark.parametrize("seed", range(20))
def test_a_return_that_climbs_and_wanders_or_dips_and_comes_back_says_nothing(seed):
    rng = np.random.default_rng(seed)
    value = climb(600) + wandering(600, rng)
    dips = climb(600) * np.repeat(np.where(rng.random(60) < 0.12, 0.3, 1.0), 10)
    for curve in (value, dips + rng.normal(0, 0.05, 600), 1 - climb(600)):
        said = looks(detect, RULE, value=curve)
        assert all(v.status is not Status.BREACH for v in said.values())


def test_a_return_on_its_way_up_again_is_over():
    value = climb(800)
    value[360:600] = 0.1
    value[600:] = np.linspace(0.1, 0.9, 200)
    assert say(detect, RULE, value=value[:600]).status is Status.BREACH
    assert say(detect, RULE, value=value[:720]).status is Status.OK


def test_few_points_are_unknown():
    assert say(detect, RULE, value=climb(31)).status is Status.UNKNOWN


@pytest.mark.parametrize("seed", range(5))
def test_of_a_short_curve_only_a_sudden_fall_is_found(seed):
    noise = np.random.default_rng(seed).normal(0, 30, 48)
    sudden = np.where(np.arange(48) < 30, np.clip(np.arange(48) * 90.0 - 540, 0, 450), -200.0)
    slow = np.interp(np.arange(48), [0, 10, 20, 40, 47], [0, 450, 450, -200, -200])
    assert say(detect, RULE, value=sudden + noise).status is Status.BREACH
    assert say(detect, RULE, value=sudden + noise).onset in range(29, 33)
    assert say(detect, RULE, value=slow + noise).status is not Status.BREACH


def test_a_success_rate_that_was_at_its_ceiling_for_long_is_lost_where_it_leaves_it():
    value = np.concatenate(([0.0, 0.6, 1.0], np.ones(60), np.full(37, 0.1)))
    found = say(detect, RULE, value=value)
    assert found.status is Status.BREACH
    assert abs(found.onset - 63) <= 4
    assert 50 <= found.best <= 63

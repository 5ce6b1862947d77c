from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.detectors.curves import looks, noise, say, window_of
from watcher.detectors.plateau import Plateau, detect
from watcher.model import Severity, Status
from watcher.series import Window

RULE = Plateau()
TRAIN = [1.0, 0.8, 0.66, 0.56, 0.49, 0.44, 0.40, 0.37, 0.345, 0.325, 0.31, 0.297, 0.286, 0.277]
VAL = [1.05, 0.88, 0.77, 0.70, 0.66, 0.64, 0.635, 0.634, 0.634, 0.635, 0.634, 0.635, 0.635, 0.634]


def stuck(n: int = 120, spread: float = 0.01, seed: int = 0):
    u = np.linspace(0, 1, n)
    return (0.55 + 0.45 * np.clip(1 - u / 0.35, 0, 1) ** 2) * noise(n, spread, seed)


def test_validation_that_stops_while_training_goes_on_is_a_hint():
    found = say(detect, RULE, value=VAL, train=TRAIN)
    assert found.status is Status.BREACH
    assert found.severity is Severity.INFO
    assert (found.best, found.best_value) == (8, 0.634)
    assert found.advice == "plateau_validation"
    assert "training loss still falls" in found.reason


def test_a_loss_at_its_floor_is_left_alone_while_the_metric_goes_on_getting_better():
    rate, loss = np.full(120, 0.1), stuck()
    best = Window()
    best.extend(
        np.arange(20, 121, 20), np.arange(6.0), np.array([0.1, 0.2, 0.27, 0.33, 0.38, 0.4])
    )
    flat = window_of(np.full(12, 0.4), every=10)
    for metric, status in ((best, Status.OK), (flat, Status.BREACH)):
        assert say(detect, RULE, value=loss, lr=rate, metric=metric).status is status
    once = window_of([0.1], start=60)  # the next evaluation will tell
    assert say(detect, RULE, value=loss, lr=rate, metric=once).status is Status.UNKNOWN


@pytest.mark.parametrize("seed", range(8))
def test_a_loss_stuck_in_noise_is_found_and_stays_found(seed):
    rate = np.full(120, 0.1)
    said = looks(detect, RULE, value=stuck(seed=seed), train=stuck(seed=seed + 50), lr=rate)
    fired = [n for n, v in said.items() if v.status is Status.BREACH]
    assert fired[0] > 36
    assert said[120].status is Status.BREACH
    assert said[120].severity is Severity.WARNING
    assert 20 <= said[120].onset <= 60
    unknown = looks(detect, RULE, value=stuck(seed=seed), train=stuck(seed=seed + 50))
    assert unknown[120].severity is Severity.INFO  # the rate may have been taken back


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("power", [0.35, 0.6, 0.9])
def test_a_slow_power_law_never_fires(seed, power):
    u = np.linspace(0, 1, 200)
    curve = 0.1 + (1 + 40 * u) ** -power
    said = looks(detect, RULE, value=curve * noise(200, 0.01, seed), train=curve)
    assert all(v.status is not Status.BREACH for v in said.values())


def test_a_converged_run_and_one_at_the_end_of_its_schedule_are_well():
    u = np.linspace(0, 1, 200)
    assert say(detect, RULE, value=0.04 + np.exp(-u / 0.05)).status is Status.OK
    rate = np.cos(np.pi * u / 2)
    assert say(detect, RULE, value=stuck(200), lr=rate).status is Status.OK
    assert say(detect, RULE, value=stuck(200), lr=np.full(200, 0.1)).status is Status.BREACH


def test_a_better_series_of_its_own_rule_makes_it_unknown():
    assert say(detect, RULE, value=stuck(), instead=VAL).status is Status.UNKNOWN
    assert say(detect, RULE, value=stuck(), instead=np.array([])).status is Status.BREACH


def test_few_points_and_a_warm_up_are_unknown():
    assert say(detect, RULE, value=VAL[:9]).status is Status.UNKNOWN
    assert say(detect, RULE, value=stuck(), lr=np.linspace(0, 1, 20)).status is Status.UNKNOWN


def test_what_never_fell_is_left_to_slow_learning():
    assert say(detect, RULE, value=0.69 * noise(100, 0.003)).status is Status.OK


def test_a_long_curve_in_buckets_is_judged_alike():
    found = say(detect, RULE, value=stuck(5000, 0.03))
    assert found.status is Status.BREACH
    assert 1000 < found.onset < 2500


def test_nan_among_the_values_does_no_harm():
    values = stuck()
    values[[3, 50, 119]] = np.nan
    assert say(detect, RULE, value=values).status is Status.BREACH
    assert say(detect, RULE, value=np.full(60, np.nan)).status is not Status.BREACH


def test_absurd_scales_raise_nothing():
    for scale in (1e-300, 1e300):
        say(detect, RULE, value=window_of(stuck() * scale))


@pytest.mark.parametrize("seed", range(4))
def test_a_loss_whose_noise_hides_the_margin_is_stuck_by_what_it_won_before(seed):
    fall = np.concatenate((np.linspace(45, 12, 40), np.full(140, 12.0)))
    said = looks(detect, replace(RULE, patience=30), value=fall * noise(180, 0.12, seed))
    assert said[max(said)].status is Status.BREACH
    slower = np.concatenate((np.linspace(45, 20, 40), np.linspace(20, 8, 140)))
    said = looks(detect, replace(RULE, patience=30), value=slower * noise(180, 0.12, seed))
    assert said[max(said)].status is Status.OK


@pytest.mark.parametrize("seed", range(4))
def test_a_descent_that_turns_into_a_rise_is_no_plateau(seed):
    u = np.linspace(0, 1, 400)
    fall = 2.2 + 8 * (1 + 300 * u) ** -0.6
    rise = np.where(u < 0.8, 1.0, 1 + 1.2 * (u - 0.8))
    said = looks(detect, replace(RULE, patience=30), value=fall * rise * noise(400, 0.01, seed))
    assert all(v.status is not Status.BREACH for v in said.values())


def test_a_validation_that_begins_late_is_measured_by_training():
    train = np.concatenate((np.linspace(2.3, 1.4, 60), np.full(140, 1.4)))
    val = window_of(1.03 * train[40::4], 41, 4)  # its first value is already low
    assert say(detect, RULE, value=val, train=train).status is Status.BREACH
    high = train * 0.2 + 1.8  # stuck high on both sides: underfitting's to say
    late = window_of(1.03 * high[40::4], 41, 4)
    assert say(detect, RULE, value=late, train=high).status is not Status.BREACH


@pytest.mark.parametrize("seed", range(4))
def test_a_schedule_that_ended_far_too_early_is_told_and_one_at_its_end_is_not(seed):
    at = np.arange(400)
    early = 1.1 + np.exp(-np.minimum(at, 40) / 20)
    loss = early * noise(400, 0.02, seed)
    for rate in (1 - at / 40, 10.0 ** -(at >= 40).astype(float) * 10.0 ** -(2.0 * (at >= 40))):
        rate = np.maximum(rate, 0)
        said = say(detect, RULE, value=window_of(loss), lr=rate)
        assert (said.status, said.severity) == (Status.BREACH, Severity.WARNING)
        assert (said.advice, said.onset) == ("plateau_spent", pytest.approx(41, abs=3))
    whole = (1.1 + np.exp(-at / 20)) * noise(400, 0.02, seed)
    for rate in (0.1 ** (at // 100), np.cos(np.pi / 2 * at / 399), 0.01 ** (at >= 40)):
        said = say(detect, RULE, value=window_of(whole), lr=rate.astype(float))
        assert said.advice != "plateau_spent"


@pytest.mark.parametrize("every", [1, 60, 200])
def test_a_validation_that_never_moved_beside_a_training_at_rest_is_a_hint(every):
    train = np.repeat(np.concatenate(([1.42, 0.81], np.full(28, 0.76))), every)
    val = window_of(np.full(30, 0.727), every=every)
    said = say(detect, RULE, value=val, train=train, lr=np.full(30, 0.1))
    assert (said.status, said.severity) == (Status.BREACH, Severity.INFO)


def test_a_validation_that_never_moved_says_nothing_beside_a_training_that_did():
    val = np.full(30, 0.727)
    learned = np.concatenate(([1.42, 0.81], np.full(28, 0.05)))
    assert say(detect, RULE, value=val * 0.1, train=learned).status is Status.OK
    falls = np.linspace(1.42, 0.9, 30)
    assert say(detect, RULE, value=val, train=falls).status is Status.OK


@pytest.mark.parametrize("seed", range(4))
def test_a_training_stuck_high_without_validation_is_found(seed):
    curve = np.concatenate((np.linspace(2.3, 1.95, 40), np.full(300, 1.95)))
    value = window_of(curve * noise(340, 0.03, seed))
    said = say(detect, replace(RULE, patience=30), value=value, train=value)
    assert said.status is Status.BREACH


def test_a_rate_that_was_raised_again_puts_the_question_off_for_a_cycle_or_two():
    val = (0.6 + 0.6 * 0.8 ** np.arange(80)) * noise(80, 0.003, 1)
    at = np.arange(80)
    for cycle, asked in ((60, False), (8, True)):
        rate = 1e-3 * (0.55 + 0.45 * np.cos(np.pi * (at % cycle) / cycle))
        found = say(detect, RULE, value=val, train=val * 0.9, lr=rate)
        assert (found.status is Status.BREACH) is asked, cycle


def test_a_rate_that_was_raised_once_puts_it_off_for_as_long_as_it_was_level_before():
    val = (0.6 + 0.6 * 0.5 ** np.arange(120)) * noise(120, 0.003, 2)
    rate = np.where(np.arange(120) < 30, 1e-3, 2e-3)
    said = looks(detect, RULE, value=val, train=val * 0.9, lr=rate)
    quiet = [n for n, v in said.items() if v.status is not Status.BREACH]
    assert {n for n in range(32, 48) if n in said} <= set(quiet)
    assert said[max(said)].status is Status.BREACH

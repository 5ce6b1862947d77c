from __future__ import annotations

import math

import numpy as np
import pytest

from tests.detectors.curves import looks, noise, say, window_of
from watcher.detectors.slow_learning import SlowLearning, detect
from watcher.model import Severity, Status

RULE = SlowLearning()
LN2 = [0.69315, 0.69298, 0.69278, 0.69256, 0.6923, 0.69199, 0.6916, 0.6911, 0.6904, 0.68937]


def test_a_loss_at_chance_is_named():
    found = say(detect, RULE, value=LN2, val=LN2)
    assert found.status is Status.BREACH
    assert found.severity is Severity.WARNING
    assert "ln(2)" in found.reason
    assert "chance" in found.reason
    assert found.advice == "slow_learning_chance"
    assert found.onset == 1


@pytest.mark.parametrize("k", [2, 10, 100, 1000])
def test_chance_is_found_for_common_numbers_of_classes(k):
    value = math.log(k) * noise(200, 0.008, k)
    said = looks(detect, RULE, value=value, val=value)
    assert said[100].status is Status.BREACH  # named once slow learning can be ruled out
    last = said[max(said)]
    assert last.advice == "slow_learning_chance"
    assert f"ln({k})" in last.reason


@pytest.mark.parametrize("seed", range(6))
def test_a_descent_of_a_few_percent_is_slow(seed):
    value = 1.37 * np.linspace(1, 0.96, 200) * noise(200, 0.02, seed)
    found = say(detect, RULE, value=value, val=value)
    assert found.status is Status.BREACH
    assert found.severity is Severity.INFO
    assert found.advice == "slow_learning"


@pytest.mark.parametrize("seed", range(6))
def test_an_ordinary_descent_never_fires(seed):
    value = (0.1 + (1 + 10 * np.linspace(0, 1, 300)) ** -0.5) * noise(300, 0.05, seed)
    said = looks(detect, RULE, value=value, val=value)
    assert all(v.status is not Status.BREACH for v in said.values())


def test_a_warm_up_an_unseen_start_and_a_run_that_has_only_begun_are_unknown():
    flat = 0.8 * noise(60, 0.002)
    assert say(detect, RULE, value=flat, lr=np.linspace(0, 1, 60)).status is Status.UNKNOWN
    assert say(detect, RULE, value=window_of(flat, start=5000)).status is Status.UNKNOWN
    assert say(detect, RULE, value=flat, val=flat[:2]).status is Status.UNKNOWN
    assert say(detect, RULE, value=LN2[:9], val=LN2[:9]).status is Status.UNKNOWN


def test_a_loss_that_has_not_moved_is_told_once_half_of_the_schedule_is_over():
    flat = 4.69 * noise(40, 0.002)
    ends = np.linspace(1, 0.02, 40)
    assert say(detect, RULE, value=flat, lr=ends).status is Status.BREACH
    assert say(detect, RULE, value=flat[:20], lr=ends[:20]).status is Status.UNKNOWN
    assert say(detect, RULE, value=flat, lr=np.full(40, 1.0)).status is Status.UNKNOWN
    slow = np.linspace(1, 0.97, 40) * noise(40, 0.002)
    assert say(detect, RULE, value=slow, lr=ends).status is not Status.BREACH


def test_a_loss_at_zero_or_below_has_no_scale():
    assert say(detect, RULE, value=-np.ones(100)).status is Status.UNKNOWN


def test_validation_is_left_to_its_own_rule():
    assert say(detect, RULE, value=LN2, instead=LN2).status is Status.UNKNOWN


@pytest.mark.parametrize("seed", range(4))
def test_what_a_rough_loss_will_win_is_waited_for(seed):
    u = np.linspace(0, 1, 500)
    value = 0.693 * (1 - 0.35 * u**0.8) * noise(500, 0.1, seed)  # preference training
    said = looks(detect, RULE, value=value)
    assert all(found.status is not Status.BREACH for n, found in said.items() if n < 96)


@pytest.mark.parametrize("seed", range(4))
def test_a_slow_start_of_a_long_training_is_given_time(seed):
    u = np.arange(1000) / 1000
    curve = np.log(256) * (1 - 0.75 / (1 + np.exp(-(u - 0.2) * 14)))
    said = looks(detect, RULE, value=curve * noise(1000, 0.02, seed))
    assert all(v.status is not Status.BREACH for v in said.values())
    creeping = 5.5 * (1 - 0.05 * u) * noise(1000, 0.02, seed)
    said = looks(detect, RULE, value=creeping)
    assert said[max(said)].status is Status.BREACH


def test_a_validation_as_rough_as_batches_hastens_nothing():
    rough = 2.3 * (1 + 0.1 * (-1.0) ** np.arange(30))
    assert say(detect, RULE, value=rough, val=rough[::-1]).status is not Status.BREACH
    means = 2.3 * noise(30, 0.005, 1)
    assert say(detect, RULE, value=rough, val=means).status is Status.BREACH


def test_a_first_part_above_chance_is_unlearned_and_tells_nothing():
    rest = math.log(2) * noise(24, 0.003, 2)
    found = say(detect, RULE, value=np.concatenate(([0.729], rest)))
    assert (found.status, found.advice) == (Status.BREACH, "slow_learning_chance")
    fell = np.concatenate(([0.9, 0.8, 0.72], rest))  # that was learning
    assert say(detect, RULE, value=fell).status is not Status.BREACH


def test_a_loss_that_has_risen_is_given_twice_the_time():
    bump = 2.4 * (1 + 0.06 * np.exp(-(((np.arange(60) - 50) / 20) ** 2)))
    assert say(detect, RULE, value=bump).status is not Status.BREACH
    flat = np.full(60, 2.45)
    assert say(detect, RULE, value=flat).status is Status.BREACH


@pytest.mark.parametrize("seed", range(4))
def test_a_wild_start_that_ends_at_chance_on_both_sides_is_found(seed):
    rng = np.random.default_rng(seed)
    down = np.array([1037.0, 59.5, 7.6, 3.1, *[math.log(10)] * 30])
    train, val = (down * (1 + rng.normal(0, 0.002, 34)) for _ in range(2))
    found = say(detect, SlowLearning(), value=train, val=val)
    assert (found.status, found.advice) == (Status.BREACH, "slow_learning_chance")
    assert "chance level, ln(10)" in found.reason
    assert found.onset in range(4, 8)
    elsewhere = say(detect, SlowLearning(), value=1.04 * train, val=1.04 * val)
    assert elsewhere.status is not Status.BREACH


def test_a_loss_that_hardly_falls_says_nothing_where_the_metric_gains():
    rng = np.random.default_rng(0)
    value = 0.05 * np.linspace(1, 0.99, 60) * (1 + rng.normal(0, 0.01, 60))
    gains, stays = np.linspace(0.3, 0.56, 60), np.full(60, 0.3) + rng.normal(0, 0.005, 60)
    assert say(detect, SlowLearning(), value=value, metric=stays).status is Status.BREACH
    assert say(detect, SlowLearning(), value=value, metric=gains).status is Status.OK


def test_gradients_that_die_before_the_loss_has_fallen_are_told_in_a_warm_up_too():
    rng = np.random.default_rng(0)
    loss, rate = 1 + rng.normal(0, 0.03, 90), 1e-6 * np.arange(1, 91)
    dying, living = 26 * 0.92 ** np.arange(90) + 0.01, 5 * np.exp(rng.normal(0, 0.5, 90))
    found = say(detect, SlowLearning(), value=loss, lr=rate, grad_norm=dying)
    assert (found.status, found.advice) == (Status.BREACH, "slow_learning_faded")
    assert found.severity is Severity.INFO  # a warm start may have nothing to win
    assert say(detect, SlowLearning(), value=loss, lr=rate, grad_norm=living).status is not (
        Status.BREACH
    )
    learned = loss * 0.99 ** np.arange(90)
    assert say(detect, SlowLearning(), value=learned, lr=rate, grad_norm=dying).status is not (
        Status.BREACH
    )


@pytest.mark.parametrize("seed", range(10))
def test_a_loss_of_few_digits_repeats_itself_and_is_not_stuck(seed):
    rng = np.random.default_rng(seed)
    exact = np.linspace(2.4, 1.8, 200) * (1 + rng.normal(0, 0.004, 200))
    half = np.round(exact * 64) / 64  # bfloat16 between 2 and 4
    cents = np.round(0.02 * (1 + rng.normal(0, 0.04, 200)), 3)
    for value in (half, cents):
        said = looks(detect, SlowLearning(), value=value)
        assert not any("exactly" in v.reason for v in said.values())


def test_an_empty_batch_does_not_keep_it_from_being_over():
    stuck = np.full(60, math.log(10)) + np.random.default_rng(0).normal(0, 1e-4, 60)
    value = np.concatenate((stuck, [0.0], np.linspace(2.3, 0.3, 300)))
    assert say(detect, SlowLearning(), value=value).status is Status.OK


def test_gradients_that_settle_after_a_first_shock_say_nothing():
    rng = np.random.default_rng(0)
    loss, norm = 1.1 - 0.0004 * np.arange(150) + rng.normal(0, 0.02, 150), np.full(150, 1.0)
    norm[:12] = 80 * 0.7 ** np.arange(12) + 1
    said = looks(detect, SlowLearning(), value=loss, grad_norm=norm)
    assert not any("gradients" in v.reason for v in said.values())


def test_a_loss_at_chance_is_a_hint_first_and_a_warning_where_it_lasts():
    value = np.log(10) * noise(120, 0.002, 4)
    said = looks(detect, RULE, value=value)
    loud = [v.severity for v in said.values() if v.status is Status.BREACH]
    assert loud[0] is Severity.INFO
    assert loud[-1] is Severity.WARNING
    assert loud == sorted(loud, key=[Severity.INFO, Severity.WARNING].index)

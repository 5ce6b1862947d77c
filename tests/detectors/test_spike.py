from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.detectors.curves import noise, say, window_of
from watcher.detectors import Inputs, RunFacts
from watcher.detectors.spike import Spike, begins, detect, mark
from watcher.model import Severity, Status
from watcher.series import Window

RULE = Spike()


def descent(n=200, seed=0):
    return (0.5 + 2 * np.exp(-np.arange(n) / 60)) * noise(n, 0.03, seed)


@pytest.mark.parametrize("seed", range(5))
def test_a_jump_of_four_times_is_a_warning_at_its_own_step(seed):
    value = descent(seed=seed)[:150]
    low = int(value[101:].argmin()) + 101
    found = say(detect, RULE, value=[*value, 4 * value[-1]])
    assert (found.status, found.onset) == (Status.BREACH, 151)
    assert found.severity is Severity.WARNING
    assert f"jumped to {4 * value[-1]:.4g} at step 151" in found.reason
    assert "times its usual" in found.reason
    assert found.best_value == value[low]
    assert found.best == low + 1


def test_several_high_points_are_one_spike_with_the_first_as_its_onset():
    value = descent()[:150]
    found = say(detect, RULE, value=[*value, 3.0, 5.0, 4.0])
    assert (found.onset, found.value) == (151, 5.0)


def test_it_is_over_when_the_loss_is_back():
    value = descent()
    assert say(detect, RULE, value=[*value[:150], 5.0, *value[150:152]]).status is Status.OK


def test_a_jump_that_lasts_is_no_spike_any_more_and_not_over_either():
    value = descent()[:150]
    found = say(detect, RULE, value=[*value, *([5.0] * 12)])
    assert found.status is Status.UNKNOWN


def test_half_as_much_again_is_noise():
    value = descent()[:150]
    assert say(detect, RULE, value=[*value, 1.4 * value[-1]]).status is Status.OK


def test_a_drop_is_no_spike():
    value = descent()[:150]
    assert say(detect, RULE, value=[*value, 0.01]).status is Status.OK


@pytest.mark.parametrize("seed", range(5))
def test_heavy_tails_that_were_there_before_say_nothing(seed):
    rng = np.random.default_rng(seed)
    value = np.exp(0.06 * rng.standard_t(4, 400).clip(-6, 6))  # beyond it is a needle
    for n in range(30, 400):
        assert say(detect, RULE, value=value[:n]).status is not Status.BREACH


def test_too_few_points_are_unknown():
    assert say(detect, RULE, value=[*descent()[:9], 50.0]).status is Status.UNKNOWN


def test_of_few_points_a_jump_to_more_than_double_is_a_spike_and_less_is_not():
    value = [1.515, 0.91, 0.523, 0.525, 0.516, 0.532, 0.483, 0.472, 0.538, 0.396, 0.452, 0.591]
    value += [0.528, 0.407, 0.427, 0.489]
    lr = [0.1] * 17
    assert say(detect, RULE, value=[*value, 2.0]).status is Status.BREACH
    assert say(detect, RULE, value=[*value, 0.8]).status is Status.OK
    assert say(detect, RULE, value=[*value, 0.8], lr=lr).status is Status.OK


@pytest.mark.parametrize("n", [12, 18, 24, 30])
def test_short_noisy_curves_say_nothing(n):
    for seed in range(60):
        value = (0.4 + 2 * np.exp(-np.arange(n) / 6)) * noise(n, 0.1, seed)
        assert all(say(detect, RULE, value=value[:k]).status is not Status.BREACH
                   for k in range(11, n + 1))  # fmt: skip


def test_reinforcement_and_adversarial_runs_are_left_alone():
    window = window_of([*descent()[:150], 50.0])
    for run in (RunFacts(reinforcement=True), RunFacts(adversarial=True)):
        assert detect(Inputs({"value": window}, run), RULE, 0.0).status is Status.OK


def test_the_spike_and_the_points_after_it_are_marked():
    marked = mark(window_of(descent()[:150]), np.array([9.0, 0.6, 0.6, 0.6]), RULE)
    assert marked.tolist() == [True] * 4


VALUES = st.lists(
    st.sampled_from([1.0, 1.1, 0.9, 5.0, -3.0, math.nan, math.inf]), min_size=1, max_size=80
)


@given(VALUES, st.lists(st.integers(0, 80), max_size=5))
def test_marks_do_not_depend_on_where_the_polls_cut(values, cuts):
    array = np.array(values)
    whole = mark(Window(), array, RULE)
    edges = [0, *sorted(min(c, len(values)) for c in cuts), len(values)]
    parts = [mark(window_of(array[:a]), array[a:b], RULE) for a, b in itertools.pairwise(edges)]
    assert np.concatenate(parts).tolist() == whole.tolist()


@pytest.mark.parametrize("n", [60, 400, 5000])
def test_a_level_that_a_jump_reached_is_not_over_while_it_is_kept(n):
    before = 2.6 * noise(8000, 0.01)
    kept = [*before, *(7.4 * noise(n, 0.01, 1))]
    assert say(detect, RULE, value=kept).status is Status.UNKNOWN
    assert say(detect, RULE, value=[*kept, *before[:20]]).status is Status.OK


def test_a_restart_may_double_a_loss_but_not_quadruple_it():
    value = 0.4 * noise(100, 0.03)
    rate = np.cos(np.arange(101) / 101 * np.pi / 2)
    rate[-1] = 1.0
    assert say(detect, RULE, value=[*value, 0.8], lr=rate).status is not Status.BREACH
    assert say(detect, RULE, value=[*value, 1.6], lr=rate).status is Status.BREACH
    assert say(detect, RULE, value=[*value, 0.8], lr=rate[:60]).status is Status.BREACH


@pytest.mark.parametrize("peak", [0.8, 1.1])
def test_a_rate_that_is_written_after_the_loss_of_its_step_is_waited_for(peak):
    value, flat = 0.4 * noise(103, 0.03), np.full(103, 1e-3)
    value[100] = peak
    assert say(detect, RULE, value=value[:101], lr=flat[:100]).status is not Status.BREACH
    found = say(detect, RULE, value=value[:102], lr=flat[:101])  # though the loss is back
    assert (found.status, found.onset) == (Status.BREACH, 101)
    assert say(detect, RULE, value=value[:103], lr=flat[:102]).status is Status.OK
    flat[100] = 1e-2
    assert say(detect, RULE, value=value[:102], lr=flat[:101]).status is not Status.BREACH


def test_a_small_step_up_long_ago_keeps_no_later_needle_from_being_over():
    value = np.where(np.arange(3000) < 1500, 1.0, 1.15) * noise(3000, 0.02)
    value[2500] = 9.0
    assert say(detect, RULE, value=value[:2501]).status is Status.BREACH
    assert say(detect, RULE, value=value[:2502]).status is Status.OK


def test_bumps_that_were_not_said_do_not_count_as_said():
    value = 0.4 * noise(420, 0.01)
    value[[150, 250]] *= 1.45
    value[400] *= 1.8
    assert say(detect, RULE, value=value[:151]).status is not Status.BREACH
    assert say(detect, RULE, value=value[:401]).status is Status.BREACH


def test_noise_with_a_heavy_tail_is_no_row_of_spikes():
    random = np.random.default_rng(8)
    value = np.exp(0.04 * random.standard_normal(500))
    value[random.choice(480, 30, replace=False)] *= np.exp(random.uniform(0.4, 0.9, 30))
    value[495] = 2.9
    assert say(detect, RULE, value=value[:496]).status is not Status.BREACH
    value[495] = 12.0
    assert say(detect, RULE, value=value[:496]).status is Status.BREACH


def test_a_small_jump_is_a_hint_and_none_where_the_rate_was_taken_back_at_once():
    value, rate = 0.4 * noise(101, 0.002), np.full(102, 1e-3)
    found = say(detect, RULE, value=[*value, 0.47], lr=rate)
    assert (found.status, found.severity) == (Status.BREACH, Severity.INFO)
    rate[-1] = 2e-4
    assert say(detect, RULE, value=[*value, 0.47], lr=rate).status is not Status.BREACH


def test_a_gradient_norm_that_jumps_as_well_says_that_it_is_no_restart():
    value, norm = 3 * noise(101, 0.004), noise(101, 0.1)
    value[-1] *= 1.2
    assert say(detect, RULE, value=value, grad_norm=norm).status is not Status.BREACH
    norm[-1] *= 9
    assert say(detect, RULE, value=value, grad_norm=norm).status is Status.BREACH


@pytest.mark.parametrize("context", [4, 5, 10])
def test_a_short_context_is_no_trouble(context):
    value = [*(0.4 * noise(100, 0.02)), 2.6, 2.5, *(0.4 * noise(20, 0.02))]
    for n in (20, 101, 110, 122):
        say(detect, replace(RULE, context=context), value=value[:n])
    with pytest.raises(ValueError, match="context"):
        replace(RULE, context=3)


@pytest.mark.parametrize("before", [10, 24, 40])
def test_a_spike_after_few_points_is_found(before):
    value = [*(0.4 * noise(before, 0.02)), 2.6]
    assert say(detect, RULE, value=value).status is Status.BREACH


@pytest.mark.parametrize("every", [49, 100, 200])
def test_needles_that_come_again_and_again_are_said_at_most_three_times(every):
    value = (0.4 + np.exp(-np.arange(3000) / 400)) * noise(3000, 0.06)
    value[every - 1 :: every] *= 2.5
    ends = range(every, 3001, every)
    said = [say(detect, RULE, value=value[:n]).status is Status.BREACH for n in ends]
    assert said[1]
    assert sum(said) <= 3


@pytest.mark.parametrize("seed", range(4))
def test_a_jump_of_a_fifth_is_one_for_a_calm_loss_with_a_known_learning_rate(seed):
    value = (2 + np.exp(-np.arange(150) / 60)) * noise(150, 0.004, seed)
    rate = np.full(151, 1e-3)
    jumped = [*value, 1.2 * value[-1]]
    assert mark(window_of(value), np.array([jumped[-1]]), RULE).all()
    assert say(detect, RULE, value=jumped, lr=rate).onset == 151
    assert say(detect, RULE, value=jumped).status is Status.OK  # it may be a restart
    rate[-1] = 5e-3
    assert say(detect, RULE, value=jumped, lr=rate).status is Status.OK  # it is one
    rough = [*(value * noise(150, 0.1, seed + 9)), 1.2 * value[-1]]
    assert say(detect, RULE, value=rough, lr=np.full(151, 1e-3)).status is Status.OK


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.002, 0.05, 0.3, 0.8]),
    st.floats(1.05, 8),
    st.booleans(),
    st.booleans(),
    st.integers(0, 200),
)
def test_a_spike_is_found_nowhere_where_none_can_begin(seed, size, jump, below, logged, cut):
    rng = np.random.default_rng(seed)
    value = (0.5 + np.exp(-np.arange(200) / 60)) * np.exp(rng.normal(0, size, 200))
    at = rng.integers(20, 200, 4)
    value[at] *= jump
    value = value - 0.8 if below else value
    step = np.arange(200, dtype=np.int64)
    window, lr = Window(), Window()
    window.extend(step[:cut], step[:cut].astype(float), value[:cut])
    possible = begins(window, value[cut:], RULE)
    for i in range(cut, 200):
        for held, news in ((window, value), (lr, np.full(200, 1e-3))):
            held.extend(step[i : i + 1], step[i : i + 1].astype(float), news[i : i + 1])
        windows = {"value": window, "lr": lr} if logged else {"value": window}
        if detect(Inputs(windows), RULE, 0.0).status is Status.BREACH:
            assert possible[i - cut]


def test_heavy_noise_leaves_few_points_to_look_at():
    value = np.exp(np.random.default_rng(3).normal(0, 0.3, 2000))
    assert mark(Window(), value, RULE).mean() > 0.5
    assert begins(Window(), value, RULE)[100:].mean() < 0.05


def spiked(value, lr=None):
    """Return after how many points a spike was said, of a curve that grows point by point."""
    said = []
    for n in range(1, len(value) + 1):
        more = {} if lr is None else {"lr": lr[:n]}
        if say(detect, RULE, value=value[:n], **more).status is Status.BREACH:
            said.append(n)
    return said


@pytest.mark.parametrize("seed", range(6))
def test_a_needle_is_found_while_the_points_before_it_are_still_the_descent(seed):
    curve = 2.3 * (1 + 0.2 * np.arange(80)) ** -0.7 * noise(80, 0.02, seed)
    assert spiked(curve) == []
    curve[40] *= 3.5
    assert spiked(curve)[0] == 41


def test_a_rate_that_is_due_at_the_same_step_is_waited_for():
    curve = 3 * noise(60, 0.01, 1)
    curve[50:] *= 1.25
    falling = np.linspace(1e-3, 1e-5, 50)
    late = say(detect, RULE, value=curve[:51], lr=falling)
    assert late.status is not Status.BREACH
    assert spiked(curve, lr=np.concatenate((falling, np.full(10, 1e-3)))) == []
    assert spiked(curve, lr=np.full(60, 1e-3))[0] == 51


def test_a_needle_that_takes_two_points_to_rise_is_found():
    value = 0.4 * noise(60, 0.12, 4)
    assert say(detect, RULE, value=[*value, 1.17, 2.23]).status is Status.BREACH
    assert say(detect, RULE, value=[*value, 1.17, 2.23, 0.4]).status is Status.OK


@pytest.mark.parametrize("seed", range(4))
def test_a_level_that_is_kept_is_not_said_to_be_over(seed):
    value = descent(300, seed)
    value[200:] *= 6
    for n in range(202, 224):
        assert say(detect, RULE, value=value[:n]).status is not Status.OK


def test_a_rule_for_very_few_points_is_judged_all_the_same():
    rule = Spike(few=3)
    for n in range(3, 14):
        assert say(detect, rule, value=[1.0, 1.1, 1.0, 1.05, 9.0, *[1.0] * 9][:n]) is not None

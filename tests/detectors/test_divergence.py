from __future__ import annotations

import numpy as np
import pytest

from tests.detectors.curves import looks, noise, say, window_of
from watcher.detectors import Inputs, RunFacts
from watcher.detectors._noise import times
from watcher.detectors.divergence import Divergence, detect
from watcher.model import Severity, Status

RULE = Divergence()


def rising(n=300, turn=150, times=3.0, seed=0, spread=0.04):
    i = np.arange(n)
    base = 0.4 + 2 * np.exp(-i / 40)
    up = np.where(i < turn, 1.0, times ** ((i - turn) / (n - turn)))
    return base * up * noise(n, spread, seed)


@pytest.mark.parametrize("seed", range(6))
def test_a_loss_that_rises_for_good_is_found_near_where_it_began(seed):
    said = looks(detect, RULE, value=rising(seed=seed))
    fired = [n for n, v in said.items() if v.status is Status.BREACH]
    assert fired
    assert 150 < fired[0] < 260
    last = said[max(said)]
    assert last.status is Status.BREACH
    assert 120 <= last.onset <= 200
    assert last.best <= last.onset


def test_the_reason_has_the_levels_and_the_factor_in_it():
    found = say(detect, RULE, value=[2.0, 1.5, 1.2, 1.0, 1.1, 1.6, 2.4, 3.0, 4.0, 5.0, 6.0, 8.0])
    assert found.status is Status.BREACH
    assert "from 1 near step 4 to 8, 8.0 times as high" in found.reason
    assert (found.onset, found.best, found.best_value) == (5, 4, 1.0)
    assert found.advice == "divergence"


def test_above_where_it_started_is_critical_and_below_is_a_warning():
    high = say(detect, RULE, value=rising(times=12.0))
    low = say(detect, RULE, value=rising(times=3.0))
    assert high.severity is Severity.CRITICAL
    assert low.severity is Severity.WARNING


def test_the_best_step_is_validations_where_it_is_logged():
    loss, val = window_of(rising()), window_of([3.0, 2.0, 2.5], start=10, every=50)
    found = detect(Inputs({"value": loss, "val": val}), RULE, 0.0)
    assert (found.best, found.best_value) == (60, 2.0)


def test_it_is_over_when_the_loss_is_back_down():
    loss = np.concatenate((rising(), np.full(150, 0.35) * noise(150, 0.03)))
    assert say(detect, RULE, value=loss).status is Status.OK


@pytest.mark.parametrize("seed", range(6))
def test_a_loss_that_falls_in_noise_says_nothing(seed):
    said = looks(detect, RULE, value=rising(times=1.0, seed=seed, spread=0.1))
    assert all(v.status is not Status.BREACH for v in said.values())


def test_a_rise_with_the_learning_rate_asks_for_more():
    loss = rising(n=400, turn=200, times=1.7, spread=0.02)
    flat, up = np.full(400, 1e-3), np.where(np.arange(400) < 200, 1e-3, 3e-3)
    assert say(detect, RULE, value=loss, lr=flat).status is Status.BREACH
    assert say(detect, RULE, value=loss, lr=up).status is not Status.BREACH


def test_the_bump_of_a_warm_up_is_none():
    bump = [2.3, 2.29, 2.28, 2.3, 2.6, 2.9, 3.0, 3.1, 3.1, 3.1, 3.1, 3.1, 3.1, 3.1]
    assert say(detect, RULE, value=bump).status is not Status.BREACH


@pytest.mark.parametrize("seed", range(4))
def test_a_third_that_is_kept_for_most_of_the_run_is_no_cycle(seed):
    at = np.arange(600)
    fall = (2 + 3 * np.exp(-at / 20)) * noise(600, 0.02, seed)
    kept = np.where(at < 150, fall, 2.6 * noise(600, 0.02, seed + 9))
    assert say(detect, RULE, value=kept[:200]).status is not Status.BREACH
    assert say(detect, RULE, value=kept).status is Status.BREACH
    cycle = fall * (1 + 0.3 * (1 - (at % 150) / 150) * (at >= 150))
    said = looks(detect, RULE, value=cycle)
    assert all(v.status is not Status.BREACH for v in said.values())


def test_too_few_points_are_unknown():
    assert say(detect, RULE, value=[1.0, 2.0, 4.0, 8.0, 16.0]).status is Status.UNKNOWN


def test_reinforcement_and_adversarial_runs_are_left_alone():
    for run in (RunFacts(reinforcement=True), RunFacts(adversarial=True)):
        inputs = Inputs({"value": window_of(rising())}, run)
        assert detect(inputs, RULE, 0.0).status is Status.OK


@pytest.mark.parametrize("seed", range(4))
def test_swings_of_a_long_period_are_said_once_and_a_rise_after_a_spike_all_the_same(seed):
    i = np.arange(600)
    fall = 0.8 + 2 * np.exp(-i / 30)
    swings = fall * np.where((i > 150) & (i // 20 % 2 == 1), 2.2, 1.0) * noise(600, 0.04, seed)
    said = looks(detect, RULE, value=swings)
    late = [n for n, v in said.items() if v.status is Status.BREACH and n > 260]
    assert late == []
    rises = fall.copy()
    rises[200:203] *= 8
    rises[300:] *= np.exp(np.linspace(0, 1.5, 300))
    said = looks(detect, RULE, value=rises * noise(600, 0.04, seed))
    assert said[max(said)].status is Status.BREACH


def test_of_a_dozen_rough_points_no_rise_is_a_divergence_yet():
    rough = [2.33, 2.39, 2.23, 2.24, 2.34, 2.05, 1.83, 2.01, 2.41, 2.82]
    assert say(detect, RULE, value=rough).status is not Status.BREACH
    clean = [2.5, 2.35, 2.2, 2.1, 2.0, 1.9, 1.83, 2.01, 2.41, 2.82]
    assert say(detect, RULE, value=clean).status is Status.BREACH


def test_a_loss_that_is_next_to_nothing_may_do_as_it_likes():
    down = 5 * np.exp(-np.arange(100) / 6.0)
    up = down[-1] * np.exp(np.linspace(0, 4, 100))
    gone = np.concatenate((down, up))
    assert say(detect, RULE, value=gone).status is Status.OK


def test_a_handful_of_points_of_a_warm_up_says_nothing():
    value = [1.91, 2.0, 1.92, 1.46, 2.53, 3.26, 5.74]
    warm = np.linspace(1e-5, 1e-4, 7)
    assert say(detect, RULE, value=value).status is Status.BREACH
    assert say(detect, RULE, value=value, lr=warm).status is Status.UNKNOWN
    goes_on = [*value, 6.1, 7.0, 8.2, 9.1, 10.4, 12.0, 13.1]
    warm = np.linspace(1e-5, 1e-4, 14)
    assert say(detect, RULE, value=goes_on, lr=warm).status is Status.BREACH


def test_an_explosion_is_found_however_steep_it_is_and_whatever_it_left_behind():
    """Curves of real trainings whose learning rate was raised a hundredfold."""
    fell = [3.142, 0.664, 0.391, 0.248, 0.209, 0.176, 0.2, 0.163, 0.102, 0.114, 0.139, 0.123]
    grows = [*fell, 1.7e9, 3.5e20, 5.2e31, 2.6e41, 7.2e51]
    assert say(detect, RULE, value=grows[:14]).status is Status.BREACH
    assert say(detect, RULE, value=grows, lr=[0.06] * 12 + [18.0] * 5).status is Status.BREACH
    stuck = [0.065, 0.011, 0.008, 0.006, 0.004, 0.005, 0.004, 0.003, 0.001, 2e50, 2e23, 2.97, 2.95]
    assert say(detect, RULE, value=stuck[:11]).status is Status.BREACH
    assert say(detect, RULE, value=stuck).status is Status.BREACH
    for n in (100, 400):  # the mean over a few points does not lose them
        long = [*np.linspace(1, 0.1, n), 2e50, *[3.0] * 20]
        assert say(detect, RULE, value=long).status is Status.BREACH


def test_a_step_down_from_a_spike_is_no_descent():
    value = [0.91, 0.54, 0.48, 0.45, 0.42, 0.41, 0.37, 0.35, 0.34, 2189.0, 3.3, 0.87, 0.98, 1.07]
    assert say(detect, RULE, value=value).status is Status.BREACH
    assert say(detect, RULE, value=value).best == 9


def test_validation_that_rises_as_well_halves_what_is_asked_of_a_short_curve():
    train = [
        0.95,
        0.87,
        0.82,
        0.74,
        0.71,
        0.64,
        0.62,
        0.56,
        0.56,
        0.51,
        0.52,
        0.5,
        0.75,
        0.76,
        0.78,
    ]
    val = [1.3, 0.9, 0.7, 0.6, 0.56, 0.52, 0.5, 0.5, 0.49, 0.48, 0.48, 0.47, 0.75, 0.72, 0.74]
    assert say(detect, RULE, value=train).status is not Status.BREACH
    assert (
        say(detect, RULE, value=train, val=[*val[:12], 0.49, 0.5, 0.48]).status
        is not Status.BREACH
    )
    assert say(detect, RULE, value=train, val=val).status is Status.BREACH


def test_a_jump_below_the_start_is_found_where_validation_jumps_as_well():
    train = [5.845, 1.522, 0.801, 0.572, 0.423, 0.528, 0.347, 0.315, 0.437, 3.314, 1.682, 1.841]
    val = [5.652, 1.884, 1.07, 0.719, 0.577, 0.519, 0.495, 0.491, 0.472, 3.174, 1.612, 1.4]
    assert say(detect, RULE, value=train, val=val).status is Status.BREACH
    assert say(detect, RULE, value=train).status is not Status.BREACH


@pytest.mark.parametrize(("ratio", "said"), [(1.62, "1.6"), (240.3, "240"), (3.2e151, "3.2e+151")])
def test_a_factor_is_written_as_people_say_it(ratio, said):
    assert times(ratio) == said


def test_a_short_curve_that_had_learned_and_stays_at_twice_its_start_is_found_at_the_third_point():
    value = [2.3, 1.8, 1.5, 1.3, 1.2, 1.1, 8.5, 9.2, 9.0]
    assert say(detect, RULE, value=value[:8]).status is not Status.BREACH
    assert say(detect, RULE, value=value).status is Status.BREACH
    falls = [3.7, 2.9, 95.0, 28.7, 11.6, 9.0]  # the first steps of a warm-up
    assert say(detect, RULE, value=falls).status is not Status.BREACH


@pytest.mark.parametrize("seed", range(6))
def test_a_loss_back_at_chance_while_the_rate_still_climbs_is_found(seed):
    rng = np.random.default_rng(seed)
    level = np.concatenate((np.full(8, 0.67), np.linspace(0.66, 0.39, 22), np.full(30, 0.68)))
    value, rate = level + rng.normal(0, 0.02, 60), 1e-6 * np.arange(1, 61)
    found = say(detect, RULE, value=value, lr=rate)
    assert found.status is Status.BREACH
    assert 27 <= found.onset <= 32


@pytest.mark.parametrize("seed", range(6))
def test_a_bump_of_the_warm_up_is_none(seed):
    rng = np.random.default_rng(seed)
    level = np.concatenate(
        (np.linspace(2.3, 1.5, 30), np.linspace(1.5, 1.9, 15), np.full(15, 1.9))
    )
    value, rate = level + rng.normal(0, 0.03, 60), 1e-6 * np.arange(1, 61)
    said = looks(detect, RULE, value=value, lr=rate)
    assert all(v.status is not Status.BREACH for v in said.values())


def test_a_part_of_the_loss_that_rises_while_the_metric_gains_does_not_diverge():
    part = np.concatenate(([0.27, 0.33, 0.43], np.full(37, 0.54))) * noise(40, 0.01)
    gains = np.linspace(0.0, 0.4, 40)
    assert say(detect, RULE, value=part).status is Status.BREACH
    assert say(detect, RULE, value=part, metric=gains).status is Status.UNKNOWN
    explodes = 0.27 * 1.15 ** np.arange(40.0)
    assert say(detect, RULE, value=explodes, metric=gains).status is Status.BREACH
    assert say(detect, RULE, value=part, metric=gains[::-1]).status is Status.BREACH


@pytest.mark.parametrize("seed", range(4))
def test_a_loss_that_stays_far_up_in_wild_noise_is_not_said_to_be_over(seed):
    rng = np.random.default_rng(seed)
    value = np.concatenate((0.7 + rng.normal(0, 0.02, 9), 14 * np.exp(rng.normal(0, 0.4, 40))))
    said = looks(detect, RULE, value=value)
    fired = next(n for n, v in said.items() if v.status is Status.BREACH)
    assert all(v.status is not Status.OK for n, v in said.items() if n > fired)
    back = looks(detect, RULE, value=np.concatenate((value, np.full(10, 0.7))))
    assert back[max(back)].status is Status.OK


def test_the_way_back_lies_before_the_onset():
    train = np.concatenate((2 * 0.97 ** np.arange(60), 0.33 * 1.1 ** np.arange(40)))
    val = 1.5 * 0.99 ** np.arange(100)  # goes on falling
    found = say(detect, RULE, value=train, val=val)
    assert found.status is Status.BREACH
    assert found.best <= found.onset <= 66


def test_a_part_of_the_loss_that_grows_from_the_first_is_meant_to():
    kl = 3 * (1 - np.exp(-np.arange(200) / 60)) * noise(200, 0.02)
    fell = np.concatenate((2 * 0.97 ** np.arange(100), 0.1 * 1.05 ** np.arange(100)))
    for value, status in ((kl, Status.OK), (fell, Status.BREACH)):
        inputs = Inputs({"value": window_of(value)}, RunFacts(parts=True))
        assert detect(inputs, RULE, 0.0).status is status


def test_a_lone_low_batch_is_no_best_to_go_back_to():
    fall = (0.3 + 2 * np.exp(-np.arange(400) / 80)) * noise(400, 0.03, 3)
    fall[40] = 0.001
    found = say(detect, RULE, value=np.concatenate((fall, 9 * noise(100, 0.03, 4))))
    assert found.status is Status.BREACH
    assert 300 < found.best <= 401
    assert "the loss rose from 0.3" in found.reason


@pytest.mark.parametrize("logged", ["value", "val"])
def test_the_best_to_go_back_to_is_a_point_of_the_curve_and_stays_it_however_long_it_grows(logged):
    fall = (0.6 + 2 * np.exp(-np.arange(101) / 30)) * noise(101, 0.04, 3)
    value = np.concatenate((fall, 50 * noise(5500, 0.02, 4)))
    lowest = int(fall.argmin())
    for n in (115, 300, 700, 1500, 3000, 5601):
        found = say(detect, RULE, **({"value": value[:n]} | {logged: value[:n]}))
        assert found.status is Status.BREACH, n
        assert (found.best, found.best_value) == (lowest + 1, fall[lowest]), n
        assert f"near step {lowest + 1} " in found.reason, n


@pytest.mark.parametrize(
    ("level", "follows", "severity"),
    [
        (0.4, 0.0, Severity.INFO),
        (3.0, 0.0, Severity.WARNING),
        (0.4, 0.2, Severity.WARNING),
        (3.0, 0.2, Severity.CRITICAL),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_a_loss_that_another_term_lifts_is_less_loud_where_validation_stays(
    level, follows, severity, seed
):
    epochs = np.arange(40)
    fell = 0.1 + 0.9 * 0.7**epochs
    value = np.where(epochs < 25, fell, level) * noise(40, 0.02, seed)
    val = (fell + follows * (epochs >= 25)) * noise(40, 0.03, seed + 10)
    said = [v for v in looks(detect, RULE, value=value, val=val).values() if v.severity]
    assert {v.severity for v in said[2:]} == {severity}
    assert ("validation did not follow" in said[-1].reason) is (follows == 0)


@pytest.mark.parametrize("metric", [0.0, 0.1])
def test_a_metric_that_never_moved_is_no_comfort(metric):
    value = np.array([3.0, 2, 1, 0.5, 0.4, 0.35, 0.3, 2, 9, 40, 90, 200])
    found = say(detect, RULE, value=value, metric=np.full(12, metric))
    assert found.severity is Severity.CRITICAL


def test_a_loss_whose_weight_grows_is_another_loss_until_it_is_above_where_it_began():
    epochs = np.arange(120)
    beta = np.clip((epochs - 10) / 60, 0, 1)
    value = (2 + 50 * 0.7**epochs + 5 * beta) * noise(120, 0.01, 2)
    assert say(detect, RULE, value=value).status is Status.BREACH
    assert say(detect, RULE, value=value, weight=beta).status is not Status.BREACH
    assert say(detect, RULE, value=value, weight=np.ones(120)).status is Status.BREACH
    blown = np.concatenate((value, np.full(30, 400.0)))
    grown = np.concatenate((beta, np.ones(30)))
    assert say(detect, RULE, value=blown, weight=grown).status is Status.BREACH

from __future__ import annotations

import numpy as np
import pytest

from tests.detectors.curves import looks, noise, say, window_of
from watcher.detectors import Inputs, RunFacts
from watcher.detectors.overfitting import Overfitting, detect
from watcher.model import Better, Severity, Status

RULE = Overfitting()
TRAIN = [1.0, 0.9, 0.8, 0.7, 0.65, 0.63, 0.61, 0.58, 0.55, 0.52, 0.49, 0.46]
VAL = [1.1, 1.0, 0.9, 0.85, 0.83, 0.84, 0.85, 0.88, 0.92, 0.95, 0.99, 1.04]


def turning(
    n: int = 120, turn: float = 0.3, rise: float = 0.5, spread: float = 0.01, seed: int = 0
):
    u = np.linspace(0, 1, n)
    down = 0.5 + 0.5 * np.exp(-u / (turn / 4))
    bottom = 0.5 + 0.5 * np.exp(-4)
    up = bottom * (1 + rise * (u - turn) / (1 - turn))
    val = np.where(u < turn, down, up) * noise(n, spread, seed)
    return 0.05 + np.exp(-3 * u) * noise(n, spread, seed + 1), val


def test_two_evaluations_of_clean_rise_are_a_hint():
    found = say(detect, RULE, val=VAL[:7], train=TRAIN[:7])
    assert found.status is Status.BREACH
    assert found.severity is Severity.INFO
    assert (found.onset, found.best, found.best_value) == (5, 5, 0.83)


def test_a_clear_rise_is_a_warning_with_the_numbers_in_it():
    found = say(detect, RULE, val=VAL, train=TRAIN)
    assert found.severity is Severity.WARNING
    assert found.best == 5
    assert "0.83 at step 5" in found.reason
    assert "training loss went on falling" in found.reason
    assert found.advice == "overfitting"


def test_one_evaluation_of_rise_is_nothing():
    assert say(detect, RULE, val=VAL[:6], train=TRAIN[:6]).status is Status.OK


def test_few_evaluations_are_unknown():
    assert say(detect, RULE, val=VAL[:4], train=TRAIN[:4]).status is Status.UNKNOWN


@pytest.mark.parametrize("seed", range(8))
def test_a_rise_is_found_in_noise_soon_after_it_began_and_held_to_the_end(seed):
    train, val = turning(seed=seed)
    said = looks(detect, RULE, val=val, train=train)
    fired = [n for n, v in said.items() if v.status is Status.BREACH]
    assert 36 <= fired[0] <= 65
    assert said[120].status is Status.BREACH
    assert said[120].best == int(val.argmin()) + 1


@pytest.mark.parametrize("seed", range(20))
def test_noise_on_a_flat_validation_curve_never_fires(seed):
    u = np.linspace(0, 1, 150)
    val = (0.4 + 0.6 * np.exp(-u / 0.05)) * noise(150, 0.015, seed)
    said = looks(detect, RULE, val=val, train=np.exp(-2 * u))
    assert all(v.status is not Status.BREACH for v in said.values())


def test_validation_that_comes_down_again_is_well():
    u = np.linspace(0, 1, 200)
    bump = np.where(u < 0.2, 0, np.clip(1 - np.abs(u - 0.45) / 0.25, 0, 1))
    val = (0.5 + 0.5 * np.exp(-u / 0.05)) * (1 + 0.3 * bump) * (1 - 0.3 * np.clip(u - 0.7, 0, 1))
    said = looks(detect, RULE, val=val, train=np.exp(-2 * u))
    assert said[100].status is Status.BREACH
    assert said[max(said)].status is Status.OK


def test_a_training_loss_that_rises_as_well_is_another_fault():
    _, val = turning()
    assert say(detect, RULE, val=val, train=val * 0.9).status is not Status.BREACH


def test_validation_alone_needs_a_clear_rise():
    _, gentle = turning(rise=0.03, spread=0.001)
    _, clear = turning(rise=0.5)
    assert say(detect, RULE, val=gentle).status is not Status.BREACH
    assert say(detect, RULE, val=clear).status is Status.BREACH


def test_a_metric_that_holds_makes_it_a_hint():
    train, val = turning()
    better = np.linspace(0.5, 0.9, len(val))
    assert say(detect, RULE, val=val, train=train, metric=better).severity is Severity.INFO
    worse = np.concatenate((better[:36], np.linspace(0.8, 0.5, len(val) - 36)))
    assert say(detect, RULE, val=val, train=train, metric=worse).severity is Severity.WARNING


def test_a_loss_below_zero_is_judged_by_its_range():
    train, val = turning()
    assert say(detect, RULE, val=val - 2, train=train - 2).status is Status.BREACH


def test_nothing_is_said_of_adversarial_and_reinforcement_runs():
    train, val = turning()
    windows = {"val": window_of(val), "train": window_of(train)}
    for facts in (RunFacts(adversarial=True), RunFacts(reinforcement=True)):
        assert detect(Inputs(windows, facts), RULE, 0.0).status is Status.OK


def test_a_rise_beside_a_learning_rate_that_still_climbs_says_nothing():
    train, val = turning()
    rise, flat = np.geomspace(1e-5, 1e-3, len(val)), np.full(len(val), 1e-3)
    assert say(detect, RULE, val=val, train=train, lr=flat).status is Status.BREACH
    assert say(detect, RULE, val=val, train=train, lr=rise).status is not Status.BREACH


def test_patience_too_short_for_a_trend_is_refused():
    with pytest.raises(ValueError, match="at least 3"):
        Overfitting(patience=2)


def higher(**windows: object) -> Inputs:
    made = {name: window_of(values) for name, values in windows.items()}
    return Inputs(made, better={"val": Better.HIGHER})


@pytest.mark.parametrize("top", [1.0, 100.0, 7.0])
@pytest.mark.parametrize("seed", range(4))
def test_an_accuracy_that_falls_is_found_whatever_its_unit(top, seed):
    noisy = np.random.default_rng(seed).normal(0, 0.006, 100)
    flat = 0.88 - 0.5 * np.exp(-np.arange(100) / 8)
    falling = flat - 0.12 * np.clip((np.arange(100) - 35) / 65, 0, 1)
    train = 0.05 + np.exp(-3 * np.linspace(0, 1, 100))
    found = detect(higher(val=top * (falling + noisy), train=train), RULE, 0.0)
    assert (found.status, found.severity) == (Status.BREACH, Severity.WARNING)
    assert 20 <= found.onset <= 60
    assert found.best_value == pytest.approx(0.88 * top, rel=0.05)
    assert "the validation metric fell" in found.reason
    quiet = detect(higher(val=top * (flat + noisy), train=train), RULE, 0.0)
    assert quiet.status is not Status.BREACH


def test_a_metric_beside_a_validation_loss_is_left_to_that():
    val = np.concatenate((np.linspace(0.5, 0.9, 10), np.linspace(0.9, 0.5, 30)))
    train = np.linspace(1, 0.1, 40)
    assert detect(higher(val=val, train=train), RULE, 0.0).status is Status.BREACH
    inputs = higher(val=val, train=train, instead=VAL)
    assert detect(inputs, RULE, 0.0).status is Status.UNKNOWN


def test_metrics_over_few_examples_say_nothing():
    rng = np.random.default_rng(7)
    train = np.exp(-np.linspace(0, 3, 60))
    cried = 0
    for _ in range(100):
        val = np.clip(0.7 + rng.normal(0, 0.05, 60), 0, 1)
        for n in (6, 8, 12, 20, 40, 60):
            said = detect(higher(val=val[:n], train=train[:n]), RULE, 0.0)
            cried += said.status is Status.BREACH
    assert cried <= 1  # of six hundred looks


def test_a_fine_tuning_that_turns_at_its_second_evaluation_is_found():
    train = [0.6, 0.45, 0.28, 0.16, 0.08, 0.05]
    val = [0.50, 0.44, 0.49, 0.58, 0.66, 0.85]
    found = say(detect, RULE, val=val, train=train)
    assert (found.status, found.severity, found.best) == (Status.BREACH, Severity.WARNING, 2)
    assert say(detect, RULE, val=val[:4], train=train[:4]).status is Status.UNKNOWN
    up_and_down = [0.50, 0.44, 0.49, 0.58, 0.55, 0.60]
    assert say(detect, RULE, val=up_and_down, train=train).status is not Status.BREACH
    assert say(detect, RULE, val=val, train=train[::-1]).status is not Status.BREACH


@pytest.mark.parametrize("seed", range(4))
def test_a_fine_tuning_that_was_best_before_any_training_is_found(seed):
    at = np.arange(40)
    val = window_of(
        (0.45 + 0.3 * (1 - np.exp(-at / 20))) * noise(40, 0.005, seed), start=0, every=10
    )
    train = window_of(0.4 * np.exp(-at / 12) * noise(40, 0.1, seed + 9), start=10, every=10)
    found = say(detect, RULE, val=val, train=train)
    assert (found.status, found.severity, found.best) == (Status.BREACH, Severity.WARNING, 0)
    alone = say(detect, RULE, val=val)
    assert alone.status is not Status.BREACH  # it may never have learned


def test_an_evaluation_before_any_training_says_nothing_of_the_level_about_the_best():
    steps = np.arange(1, 26, dtype=np.int64)
    train = window_of(1.1 * np.exp(-steps / 3.0) + 0.05)
    val = [5.7, *(1.1 + 1.5 * (1 - np.exp(-np.arange(24) / 6.0)))]
    for n in range(6, len(val) + 1):
        found = say(detect, RULE, val=val[:n], train=train)
        assert (found.status, found.best) == (Status.BREACH, 2), n


BUMP = [0.75, 0.44, 0.38, 0.33, 0.28, 0.29, 0.37]


def test_a_short_bump_is_a_bump_unless_the_metric_suffers_too():
    train = [0.9, 0.6, 0.5, 0.4, 0.35, 0.3, 0.26]
    good = [0.5, 0.6, 0.7, 0.75, 0.8, 0.81, 0.82]
    worse = [0.5, 0.6, 0.7, 0.75, 0.8, 0.78, 0.74]
    assert say(detect, RULE, val=BUMP, train=train).status is not Status.BREACH
    assert say(detect, RULE, val=BUMP, train=train, metric=good).status is not Status.BREACH
    found = say(detect, RULE, val=BUMP, train=train, metric=worse)
    assert (found.status, found.severity, found.best) == (Status.BREACH, Severity.INFO, 5)


def test_a_rough_rise_that_stays_for_four_evaluations_needs_no_metric():
    val, train = (
        [0.75, 0.44, 0.38, 0.33, 0.28, 0.29, 0.36, 0.35, 0.37],
        [0.9 - 0.08 * i for i in range(9)],
    )
    assert say(detect, RULE, val=val, train=train).status is Status.BREACH


def test_a_rise_that_steps_down_by_half_of_itself_needs_twice_as_many_evaluations():
    train = [0.9 - 0.06 * i for i in range(12)]
    wild = [0.61, 0.51, 0.47, 0.44, 0.36, 0.5, 0.42, 0.66, 0.45]
    assert say(detect, RULE, val=wild, train=train[:9]).status is not Status.BREACH
    stays = [*wild[1:], 0.5, 0.62, 0.55, 0.58]
    assert say(detect, RULE, val=stays, train=train).status is Status.BREACH


def test_rising_from_its_first_evaluation_is_found_where_training_had_begun_to_fit():
    steps = np.arange(1, 201, dtype=np.int64)
    fitted, hardly = window_of(0.9 * np.exp(-steps / 30)), window_of(0.9 * np.exp(-steps / 400))
    val = window_of([0.31, 0.33, 0.37, 0.41, 0.47], start=40, every=40)
    assert say(detect, RULE, val=val, train=fitted).status is Status.BREACH
    assert say(detect, RULE, val=val, train=hardly).status is Status.OK


@pytest.mark.parametrize(
    ("parts", "lost", "severity"),
    [
        (True, -0.05, None),
        (True, 0.01, Severity.INFO),
        (True, 0.2, Severity.WARNING),
        (False, -0.05, Severity.INFO),
        (False, 0.01, Severity.WARNING),
    ],
)
def test_a_part_of_the_loss_is_judged_by_what_the_metric_did_meanwhile(parts, lost, severity):
    train, val = turning(rise=0.5, seed=3)
    metric = np.concatenate((np.linspace(0.5, 0.9, 30), np.linspace(0.9, 0.9 * (1 - lost), 90)))
    windows = {"val": window_of(val), "train": window_of(train), "metric": window_of(metric)}
    inputs = Inputs(windows, RunFacts(parts=parts), {"metric": Better.HIGHER})
    assert detect(inputs, RULE, 0.0).severity is severity


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("level", [0.05, 0.4, 0.6])
def test_an_accuracy_that_drops_at_once_and_stays_down_is_found(level, seed):
    rng = np.random.default_rng(seed)
    val = np.concatenate((0.8 - 0.7 * np.exp(-np.arange(25) / 5), np.full(25, level)))
    train = np.exp(-np.linspace(0, 3, 50))
    said = detect(higher(val=val + rng.normal(0, 0.005, 50), train=train), RULE, 0.0)
    assert said.status is Status.BREACH
    assert said.best <= 26


@pytest.mark.parametrize("episodes", [10, 50])
def test_a_success_rate_over_few_episodes_says_nothing(episodes):
    rng = np.random.default_rng(5)
    train = np.exp(-np.linspace(0, 3, 100))
    cried = 0
    for _ in range(40):
        val = rng.binomial(episodes, 0.5, 100) / episodes
        for n in (20, 40, 60, 100):
            said = detect(higher(val=val[:n], train=train[:n]), RULE, 0.0)
            cried += said.status is Status.BREACH
    assert cried <= 1  # of 160 looks


def test_validation_that_rises_with_a_weight_says_nothing_unless_training_falls():
    train, val = turning()
    beta = np.clip(np.linspace(-0.3, 0.7, 120), 0, 1)
    for course, asked in ((train, True), (np.full(120, 0.4), False), (val, False)):
        found = say(detect, RULE, val=val, train=course, weight=beta)
        assert (found.status is Status.BREACH) is asked
    level = say(detect, RULE, val=val, train=np.full(120, 0.4), weight=np.ones(120))
    assert level.status is Status.BREACH

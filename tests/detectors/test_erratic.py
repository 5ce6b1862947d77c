from __future__ import annotations

import numpy as np
import pytest

from tests.detectors.curves import looks, noise, window_of
from watcher.detectors import Inputs, RunFacts
from watcher.detectors.erratic import Erratic, detect
from watcher.model import Severity, Status

RULE = Erratic()
FALLS = 0.4 + np.exp(-np.arange(60) / 15)


def ask(val, train, **facts):
    windows = {"value": window_of(val), "train": window_of(train)}
    return detect(Inputs(windows, RunFacts(**facts)), RULE, 0.0)


@pytest.mark.parametrize("seed", range(6))
def test_evaluations_that_leap_about_beside_a_smooth_training_are_a_hint(seed):
    val = FALLS * noise(60, 0.8, seed)
    said = looks(detect, RULE, value=val, train=FALLS * noise(60, 0.02, seed))
    found = said[60]
    assert (found.status, found.severity, found.advice) == (
        Status.BREACH,
        Severity.INFO,
        "erratic",
    )
    assert "leaps about between" in found.reason
    assert min(n for n, v in said.items() if v.status is Status.BREACH) >= RULE.least


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("spread", [0.02, 0.1, 0.2])
def test_the_scatter_of_few_examples_says_nothing(spread, seed):
    val = FALLS * noise(60, spread, seed)
    said = looks(detect, RULE, value=val, train=FALLS * noise(60, 0.01, seed))
    assert all(v.status is not Status.BREACH for v in said.values())


def test_a_training_that_leaps_about_as_well_is_another_matter():
    assert ask(FALLS * noise(60, 0.8), FALLS * noise(60, 0.6, 1)).status is not Status.BREACH


def test_of_next_to_nothing_and_of_parts_of_a_loss_nothing_is_said():
    late = np.where(np.arange(60) < 4, 1.0, 0.002) * noise(60, 0.8)
    assert ask(late, FALLS).status is Status.OK
    assert ask(FALLS * noise(60, 0.8), FALLS, parts=True).status is Status.OK


def test_it_is_over_when_the_evaluations_are_calm_again():
    val = np.concatenate((FALLS * noise(60, 0.8), np.full(200, 0.4) * noise(200, 0.05)))
    train = np.concatenate((FALLS, np.full(200, 0.4)))
    assert ask(val[:60], train[:60]).status is Status.BREACH
    assert ask(val, train).status is Status.OK


def test_few_evaluations_are_unknown_and_too_few_refused():
    assert ask(FALLS[:15] * noise(15, 0.8), FALLS[:15]).status is Status.UNKNOWN
    with pytest.raises(ValueError, match="least"):
        Erratic(least=4)

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.detectors.curves import looks, say, window_of
from watcher.detectors.flat_return import FlatReturn, detect
from watcher.model import Severity, Status

RULE = FlatReturn()
SEEDS = range(8)


def scatter(n: int, seed: int, *, keeps: float = 0.0) -> np.ndarray:
    """Noise of spread one, as much like its predecessor as ``keeps`` says."""
    random = np.random.default_rng(seed)
    drawn = random.standard_normal(n)
    for i in range(1, n):
        drawn[i] = keeps * drawn[i - 1] + np.sqrt(1 - keeps**2) * drawn[i]
    return drawn


def test_a_return_that_never_rises_is_a_hint_after_many_episodes():
    said = looks(detect, RULE, value=-280 + 60 * scatter(500, 3))
    assert not [n for n, v in said.items() if n < 200 and v.status is not Status.UNKNOWN]
    found = next(v for v in said.values() if v.status is Status.BREACH)
    assert Status.OK not in {v.status for v in said.values()}
    assert (found.status, found.severity, found.onset) == (Status.BREACH, Severity.INFO, 1)
    assert found.advice == "flat_return"
    assert re.search(r"the return has not risen beyond chance in \d+ points: -", found.reason)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_return_that_falls_from_its_start_has_not_risen_either(seed):
    value = np.linspace(0, -3, 300) + scatter(300, seed)
    assert say(detect, RULE, value=value).status is Status.BREACH


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "rises",
    [
        np.linspace(0, 2, 400),  # slowly
        3 / (1 + np.exp(-(np.arange(400) - 60) / 10)),  # early, and then no more
        np.concatenate((np.zeros(250), np.linspace(0, 4, 150))),  # late
    ],
    ids=["slowly", "early", "late"],
)
def test_a_return_that_rises_says_nothing_in_the_end(rises, seed):
    value = rises + scatter(400, seed, keeps=0.4)
    assert say(detect, RULE, value=value).status is not Status.BREACH


@pytest.mark.parametrize("seed", SEEDS)
def test_a_return_at_its_ceiling_has_nothing_to_win(seed):
    value = np.minimum(500, 520 + 25 * scatter(300, seed))
    assert say(detect, RULE, value=value).status is Status.OK


def test_what_had_learned_before_it_was_seen_need_not_rise():
    assert say(detect, RULE, value=200 + 10 * scatter(300, 2)).status is Status.UNKNOWN
    later = window_of(-200 + 10 * scatter(300, 2), start=5000)
    assert say(detect, RULE, value=later).status is Status.UNKNOWN
    assert say(detect, RULE, value=-1e308 + 1e307 * scatter(300, 2)).status is Status.UNKNOWN


def test_what_was_said_is_taken_back_once_the_return_rises():
    value = np.concatenate((scatter(350, 5), 12 / (1 + np.exp(-np.arange(-100, 200) / 10))))
    said = looks(detect, RULE, value=value)
    assert Status.BREACH in {v.status for n, v in said.items() if n <= 350}
    assert said[max(said)].status is Status.OK


def test_too_few_points_for_stretches_are_refused():
    with pytest.raises(ValueError, match="at least 64"):
        FlatReturn(least=50)

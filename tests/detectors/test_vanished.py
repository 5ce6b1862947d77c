from __future__ import annotations

import numpy as np
import pytest

from tests.detectors.curves import looks, say, window_of
from watcher.detectors import Inputs, RunFacts
from watcher.detectors.vanished import Vanished, detect
from watcher.model import Severity, Status

NOTHING, ADVERSARY = Vanished(), Vanished(part=0.03, least=40)


def test_a_loss_that_is_zero_from_its_second_point_on_is_found():
    said = looks(detect, NOTHING, value=np.array([0.0328, *[0.0] * 30]))
    fired = [n for n, v in said.items() if v.status is Status.BREACH]
    assert fired[0] == 15
    found = said[fired[0]]
    assert (found.severity, found.onset, found.advice) == (Severity.WARNING, 2, "vanished")
    assert "has been exactly 0 since step 2" in found.reason


def test_a_loss_that_is_learned_away_is_a_hint():
    value = np.array([*0.8 * 0.6 ** np.arange(20.0), *[0.0] * 20])
    found = say(detect, NOTHING, value=value)
    assert (found.status, found.severity, found.onset) == (Status.BREACH, Severity.INFO, 21)


def test_a_loss_that_was_learned_away_stays_a_hint_however_long_it_is_zero():
    value = np.array([*0.8 * 0.6 ** np.arange(20.0), *[0.0] * 3000])
    said = looks(detect, NOTHING, value=value)
    assert {v.severity for v in said.values() if v.status is Status.BREACH} == {Severity.INFO}


@pytest.mark.parametrize(
    "value",
    [
        2 * 0.5 ** np.arange(60.0),
        np.where(np.arange(60) % 3 == 0, 0.1, 0.0),  # a margin that most batches meet
        np.concatenate((np.linspace(1, 0, 20), -np.ones(20))),
    ],
)
def test_what_comes_near_zero_or_below_it_says_nothing(value):
    assert say(detect, NOTHING, value=value).status is not Status.BREACH


@pytest.mark.parametrize("seed", range(4))
def test_the_loss_of_a_discriminator_that_has_won_is_found(seed):
    rng = np.random.default_rng(seed)
    value = np.where(np.arange(200) < 60, 0.7, 0.004) * np.exp(rng.normal(0, 0.5, 200))
    windows = {"value": window_of(value)}
    found = detect(Inputs(windows, RunFacts(adversarial=True)), ADVERSARY, 0.0)
    assert (found.status, found.advice) == (Status.BREACH, "vanished_opponent")
    even = detect(Inputs({"value": window_of(value[:60])}), ADVERSARY, 0.0)
    assert even.status is not Status.BREACH


def test_a_loss_that_never_was_anything_is_told_but_for_a_part_of_one():
    window = window_of(np.zeros(40))
    assert detect(Inputs({"value": window}), NOTHING, 0.0).onset == 1
    part = Inputs({"value": window}, RunFacts(parts=True))
    assert detect(part, NOTHING, 0.0).status is Status.OK


def test_the_losses_of_agents_may_be_zero_by_construction():
    windows = {"value": window_of([0.1, *[0.0] * 40])}
    assert detect(Inputs(windows, RunFacts(reinforcement=True)), NOTHING, 0.0).status is Status.OK


@pytest.mark.parametrize(("theirs", "status"), [(9.0, Status.BREACH), (0.5, Status.OK)])
def test_a_discriminator_that_had_won_from_the_first_is_measured_by_its_opponent(theirs, status):
    rng = np.random.default_rng(5)
    lost = 0.01 * np.exp(rng.normal(0, 0.5, 60))
    windows = {"value": window_of(lost), "opponent": window_of(theirs * np.ones(60))}
    found = detect(Inputs(windows, RunFacts(adversarial=True)), ADVERSARY, 0.0)
    assert found.status is status
    if status is Status.BREACH:
        assert found.severity is Severity.INFO
        assert "beside its opponent's 9 since" in found.reason
    del windows["opponent"]
    assert detect(Inputs(windows, RunFacts(adversarial=True)), ADVERSARY, 0.0).status is Status.OK


def test_the_onset_is_where_it_went_and_stays_it_when_a_point_stands_out():
    value = np.where(np.arange(300) < 140, 0.7, 0.001)
    value[[160, 250]] = 0.2
    windows = {"value": window_of(value[:200])}
    found = detect(Inputs(windows, RunFacts(adversarial=True)), ADVERSARY, 0.0)
    assert found.status is Status.BREACH
    assert 141 <= found.onset <= 162
    for n in (250, 290, 300):
        windows = {"value": window_of(value[:n])}
        found = detect(Inputs(windows, RunFacts(adversarial=True)), ADVERSARY, 0.0)
        assert found.onset >= 141, n


def test_a_code_that_collapses_onto_the_prior_is_found_beside_its_reconstruction():
    prior = Vanished(part=0.01, least=40, anywhere=True)
    collapsed = np.concatenate(([9.9, 4.0, 0.9, 0.4, 0.2], 0.015 * np.ones(60)))
    blown = np.concatenate(([9.9, 4e6, 3.9, 3.4, 3.2], 0.3 * np.ones(60)))
    for value, beside, status in (
        (collapsed, np.ones(65), Status.BREACH),
        (collapsed, 0.1 * np.ones(65), Status.OK),
        (collapsed, None, Status.OK),  # of a teacher: it is to be learned away
        (collapsed + 0.05, np.ones(65), Status.OK),
        (blown, 100 * np.ones(65), Status.OK),
    ):
        windows = {"value": window_of(value)}
        windows |= {"opponent": window_of(beside)} if beside is not None else {}
        assert detect(Inputs(windows), prior, 0.0).status is status
    agent = Inputs(windows, RunFacts(reinforcement=True))
    assert detect(agent, prior, 0.0).status is Status.OK


def test_an_opponent_that_is_nan_tells_nothing():
    windows = {"value": window_of(np.full(60, 0.5)), "opponent": window_of(np.full(60, np.nan))}
    assert detect(Inputs(windows, RunFacts(adversarial=True)), ADVERSARY, 0.0).status is Status.OK

from __future__ import annotations

import numpy as np
import pytest

from tests.detectors.curves import looks, say, window_of
from watcher.detectors import Inputs, RunFacts
from watcher.detectors.frozen import Frozen, detect
from watcher.model import Better, Severity, Status

RULE = Frozen()


def test_an_accuracy_that_never_moves_is_found_at_the_sixth_evaluation():
    said = looks(detect, RULE, value=np.full(12, 0.57409))
    assert [n for n, v in said.items() if v.status is Status.BREACH] == [*range(6, 13)]
    found = said[12]
    assert (found.severity, found.onset, found.advice) == (Severity.WARNING, 1, "frozen")
    assert "each evaluation since step 1 gives exactly 0.57409" in found.reason


@pytest.mark.parametrize("top", [1.0, 100.0])
def test_one_answer_from_the_second_evaluation_on_is_found_in_parts_and_in_percent(top):
    value = top * np.array([0.31, *[0.1] * 7])
    assert say(detect, RULE, value=value).onset == 2


def test_an_accuracy_that_fell_to_one_answer_is_found():
    value = [0.3, 0.42, 0.5, 0.55, *[0.1] * 8]
    assert say(detect, RULE, value=value).onset == 5


@pytest.mark.parametrize(
    "value",
    [
        [0.5] * 5 + [0.5001],
        [0.2, 0.4, 0.6, 0.7, 0.75, *[0.8] * 40],  # climbed to where it rests
        [1.0] * 20,
        [0.9667] * 20,  # thirty examples, one of them too hard
        [100.0] * 20,
        [0.0] * 20,
        [float("nan")] * 20,
        [0.5, 0.51] * 10,
    ],
)
def test_what_moves_has_climbed_is_perfect_or_never_met_says_nothing(value):
    assert say(detect, RULE, value=value).status is not Status.BREACH


def lower(value):
    return detect(Inputs({"value": window_of(value)}, better={"value": Better.LOWER}), RULE, 0.0)


def test_an_error_or_a_loss_that_never_moves_is_found_but_for_all_wrong():
    assert lower([0.3] * 20).status is Status.BREACH
    assert lower([0.9, 0.7, 0.5, 0.4, *[0.3] * 20]).status is Status.OK  # it came down to there
    for nothing in (0.0, 1.0, 100.0):  # an error rate of all, as at the start of speech
        assert lower([nothing] * 20).status is Status.OK


def test_all_wrong_is_told_once_the_loss_has_come_to_rest():
    loss = 5 * np.concatenate((0.8 ** np.arange(4), np.full(8, 0.8**3)))
    falls = 5 * 0.97 ** np.arange(12)
    for val, status in ((loss[:4], Status.UNKNOWN), (falls, Status.OK), (loss, Status.BREACH)):
        made = {"value": window_of(np.full(len(val), 1.0)), "val": window_of(val)}
        assert detect(Inputs(made, better={"value": Better.LOWER}), RULE, 0.0).status is status


def test_the_metrics_of_agents_are_left_alone():
    agent = Inputs({"value": window_of(np.full(20, 0.3))}, RunFacts(reinforcement=True))
    assert detect(agent, RULE, 0.0).status is Status.OK


def test_an_accuracy_that_stays_for_long_is_told_though_the_loss_falls():
    value, val = np.full(60, 0.574), 2.3 * 0.97 ** np.arange(60)
    said = looks(detect, RULE, value=value, val=val)
    assert next(n for n, v in said.items() if v.status is Status.BREACH) == 24


def test_few_examples_that_have_not_changed_sides_yet_say_nothing_while_the_loss_falls():
    value, level = np.full(12, 0.46), np.full(12, 0.69)
    falls = level * 0.99 ** np.arange(12)
    assert say(detect, RULE, value=value, val=falls).status is Status.UNKNOWN
    assert say(detect, RULE, value=value, val=level).status is Status.BREACH


def test_one_evaluation_that_is_written_again_and_again_is_no_more_than_a_hint():
    value, val = np.full(40, 0.574), np.full(40, 1.2345)
    assert say(detect, RULE, value=value).severity is Severity.WARNING
    assert say(detect, RULE, value=value, val=val).severity is Severity.INFO

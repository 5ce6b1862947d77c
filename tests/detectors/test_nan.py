from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.detectors.curves import say, window_of
from watcher.detectors import Inputs, RunFacts
from watcher.detectors.nan import Nan, detect, mark
from watcher.model import Severity, Status
from watcher.series import Window

RULE = Nan()
VALUES = st.lists(st.sampled_from([1.0, 2.0, math.nan, math.inf, -math.inf]), max_size=30)


def test_a_nan_is_critical_from_its_first_step_on_and_names_the_best_before():
    found = say(detect, RULE, value=[3.0, 2.0, 2.5, math.nan, math.nan])
    assert found.status is Status.BREACH
    assert found.severity is Severity.CRITICAL
    assert (found.onset, found.best, found.best_value) == (4, 2, 2.0)
    assert found.reason == "the loss is NaN since step 4; it was 2.5 just before"
    long = say(detect, Nan(), value=[*[2.5] * 700, *[np.nan] * 900])
    assert long.reason == "the loss is NaN since step 701; it was about 2.5 before"


def test_an_infinite_loss_is_called_infinite():
    assert "infinite since step 2" in say(detect, RULE, value=[1.0, math.inf]).reason


def test_a_loss_that_exploded_first_gets_the_advice_for_explosions():
    exploded = [1.0] * 6 + [4.0, math.nan]
    assert say(detect, RULE, value=exploded).advice == "nan_explosion"
    assert say(detect, RULE, value=[1.0] * 7 + [math.nan]).advice == "nan"


def test_the_largest_finite_number_is_no_nan():
    assert say(detect, RULE, value=[1.0, 1e308]).status is Status.OK


def test_it_is_over_at_the_first_finite_value():
    assert say(detect, RULE, value=[1.0, math.nan, 1.0]).status is Status.OK


def test_no_point_is_unknown():
    assert say(detect, RULE, value=[]).status is Status.UNKNOWN


def test_as_many_as_are_tolerated_say_nothing_and_one_more_does():
    rule = Nan(tolerate=2)
    assert say(detect, rule, value=[1.0, math.nan, math.nan]).status is Status.UNKNOWN
    found = say(detect, rule, value=[1.0, math.nan, math.nan, math.nan])
    assert (found.status, found.onset) == (Status.BREACH, 2)


def test_a_series_that_was_never_finite_began_at_its_first_step():
    found = say(detect, RULE, value=[math.nan] * 2000)
    assert (found.onset, found.best) == (1, None)


@given(VALUES, st.lists(st.integers(0, 30), max_size=5), st.integers(0, 3))
def test_marks_do_not_depend_on_where_the_polls_cut(values, cuts, tolerate):
    rule = Nan(tolerate)
    array = np.array(values, float)
    whole = mark(Window(), array, rule)
    edges = [0, *sorted(min(c, len(values)) for c in cuts), len(values)]
    parts = [mark(window_of(array[:a]), array[a:b], rule) for a, b in itertools.pairwise(edges)]
    assert np.concatenate(parts).tolist() == whole.tolist()


def test_zero_beside_nan_gradients_is_nan_but_not_beside_the_infinite_ones_of_a_loss_scale():
    nans, infinite = np.full(12, math.nan), np.full(12, math.inf)
    after = [2.0, 1.9, *[0.0] * 10]
    assert say(detect, RULE, value=after, grad_norm=nans).status is Status.BREACH
    assert say(detect, RULE, value=np.zeros(12), grad_norm=nans).status is Status.BREACH
    assert say(detect, RULE, value=np.zeros(6), grad_norm=nans[:6]).status is Status.OK
    for value in (after, np.zeros(12)):
        assert say(detect, RULE, value=value, grad_norm=infinite).status is Status.OK
    windows = {"value": window_of(np.zeros(12)), "grad_norm": window_of(nans)}
    for run in (RunFacts(parts=True), RunFacts(reinforcement=True)):
        assert detect(Inputs(windows, run), RULE, 0.0).status is Status.OK

"""Threshold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.detectors import Inputs
from watcher.detectors.threshold import Threshold, detect, mark
from watcher.model import Status
from watcher.series import Window


def window(values: list[float], start: int = 0) -> Window:
    made = Window()
    n = len(values)
    made.extend(np.arange(start, start + n), np.arange(n) * 60.0, np.array(values, float))
    return made


def said(values: list[float], **params: float):
    return detect(Inputs({"value": window(values)}), Threshold(**params), 0.0)


def test_breach_begins_where_the_value_left_the_bounds() -> None:
    found = said([1, 2, 6, 7, 8], above=5)
    assert (found.status, found.onset, found.value) == (Status.BREACH, 2, 8)
    assert (found.best, found.best_value) == (0, 1)
    assert found.reason == "value 8 is above 5"


def test_points_must_be_in_a_row() -> None:
    assert said([1, 6, 6], above=5, points=3).status is Status.OK
    assert said([6, 6], above=5, points=3).status is Status.UNKNOWN
    found = said([1, 6, 6, 6], above=5, points=3)
    assert (found.status, found.onset) == (Status.BREACH, 1)
    assert "3 points in a row" in found.reason


def test_any_of_several_bounds_will_do() -> None:
    assert said([0.5], above=5, below=1).reason == "value 0.5 is below 1"
    assert said([3], above=5, below=1).status is Status.OK
    assert said([0, 0], equal=0, points=2).reason == "value 0 is equal to 0 for 2 points in a row"
    assert said([math.inf], above=5).status is Status.BREACH


def test_a_nan_says_nothing() -> None:
    assert said([1, math.nan], above=5).status is Status.UNKNOWN
    assert said([], above=5).status is Status.UNKNOWN
    assert said([1, math.nan], above=5, points=2).status is Status.OK


@pytest.mark.parametrize(
    "params", [{}, {"above": math.nan}, {"above": 1, "points": 0}, {"above": 1, "points": 9999}]
)
def test_bounds_that_make_no_sense_are_refused(params: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"bound|points"):
        Threshold(**params)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=60), st.integers(1, 4), st.data())
def test_marks_do_not_depend_on_where_a_poll_cuts(
    values: list[float], points: int, data: st.DataObject
) -> None:
    params = Threshold(above=5, points=points)
    cut = data.draw(st.integers(0, len(values)))
    whole = mark(Window(), np.array(values), params)
    first = mark(Window(), np.array(values[:cut]), params)
    second = mark(window(values[:cut]), np.array(values[cut:]), params)
    assert [*first, *second] == [*whole]


@given(st.lists(st.floats(0, 10), min_size=1, max_size=60), st.integers(1, 4))
def test_every_change_of_mind_is_marked(values: list[float], points: int) -> None:
    params = Threshold(above=5, points=points)
    marked = mark(Window(), np.array(values), params)
    before = False
    for i in range(len(values)):
        breach = said(values[: i + 1], above=5, points=points).status is Status.BREACH
        assert marked[i] == (breach != before)
        before = breach

"""The expression detector."""

from __future__ import annotations

import numpy as np
import pytest

from watcher.detectors import Inputs, detectors
from watcher.detectors.expression import Expression, detect
from watcher.expr import ExprError
from watcher.model import Better, Status
from watcher.series import Window


def window(values: list[float]) -> Window:
    made = Window()
    n = len(values)
    made.extend(np.arange(n), np.arange(n) * 60.0, np.array(values, float))
    return made


def test_true_is_a_breach_with_the_numbers_in_its_reason() -> None:
    found = detect(Inputs({"value": window([2, 1, 3])}), Expression("val_loss.last > 2"), 0.0)
    assert found.status is Status.BREACH
    assert found.reason == "val_loss.last (3) > 2"
    assert (found.value, found.best, found.best_value) == (3, 1, 1)


def test_best_follows_the_direction() -> None:
    inputs = Inputs({"value": window([2, 1, 3])}, better={"value": Better.HIGHER})
    assert detect(inputs, Expression("val_metric.last > 2"), 0.0).best == 2


def test_false_is_ok_and_not_known_is_unknown() -> None:
    inputs = Inputs({"value": window([1.0])})
    assert detect(inputs, Expression("val_loss.last > 2"), 0.0).status is Status.OK
    assert detect(inputs, Expression("val_loss.mean(5) > 2"), 0.0).status is Status.UNKNOWN
    nan = Inputs({"value": window([float("nan")])})
    assert detect(nan, Expression("val_loss.nan_count > 0"), 0.0).best is None


def test_only_the_clocks_expressions_are_judged_at_every_tick() -> None:
    assert not detectors()["expression"].timed
    assert detectors()["expression_timed"].timed


def test_a_bad_expression_is_refused_when_it_is_made() -> None:
    with pytest.raises(ExprError):
        Expression("import os")

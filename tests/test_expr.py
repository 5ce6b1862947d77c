"""The expression language: what it says, what it does not know, how it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.detectors import Inputs, RunFacts
from watcher.expr import ExprError, compile_expr
from watcher.model import Better, Role, Selector
from watcher.series import Window


def window(values: list[float], every: int = 10) -> Window:
    made = Window()
    n = len(values)
    made.extend(np.arange(n, dtype=np.int64) * every, np.arange(n) * 60.0, np.array(values, float))
    return made


def said(text: str, *series: list[float], better: Better = Better.LOWER, now: float = 0.0):
    made = compile_expr(text)
    windows = {name: window(v) for name, v in zip(made.inputs, series, strict=False)}
    inputs = Inputs(windows, RunFacts(seen_at=1000.0), {"value": better})
    return made.decide(inputs, now)


FALLING = [4.0, 3.0, 2.0, 1.0, 2.0]


@pytest.mark.parametrize(
    "text",
    [
        "val_loss.last == 2",
        "val_loss.first == 4 and val_loss.best == 1",
        "val_loss.best_step == 30 and val_loss.steps_since_best == 10",
        "val_loss.count == 5",
        "val_loss.mean(5) == 2.4",
        "val_loss.median(3) == 2",
        "abs(val_loss.std(4) - 0.8164965809) < 1e-9",
        "abs(val_loss.slope(3)) < 1e-12 and abs(val_loss.slope(4) - -0.04) < 1e-9",
        "val_loss.pct_change(1) == 1",
        "1 < val_loss.ema(2) < 2.0",
        "1 < val_loss.last < 3",
        "not val_loss.last > 3",
        "-val_loss.last < -1 and +val_loss.last > 1",
        "val_loss.last // 2 == 1 and val_loss.last % 2 == 0 and val_loss.last / 4 == 0.5",
        "min(val_loss.last, 1, 7) == 1 and max(val_loss.last, 1) == 2",
        "sqrt(4 * val_loss.best) == 2 and log(exp(val_loss.last)) == 2",
        "isfinite(val_loss.last) and val_loss.nan_count == 0",
        "val_loss.last > 1e308 * 10 or val_loss.last == 2",
        "exp(1000 * val_loss.last) > 1",
        "val_loss.last > 1.2 * val_loss.best and (val_loss.steps_since_best > 5)",
    ],
)
def test_what_is_true_of_a_curve(text: str) -> None:
    assert said(text, FALLING) is True


@pytest.mark.parametrize(
    "text",
    [
        "val_loss.mean(6) > 0",  # too few points
        "val_loss.pct_change(5) > 0",
        "val_loss.last / 0 > 1",
        "val_loss.last % 0 > 1",
        "log(-val_loss.last) > 0",
        "val_loss.last > 5 or train_loss.last > 1",  # only one of them is there
        "not val_loss.last / 0 > 1",
    ],
)
def test_what_is_neither_true_nor_false(text: str) -> None:
    assert said(text, FALLING) is None


def test_what_does_not_matter_need_not_be_known() -> None:
    assert said("val_loss.last > 5 and train_loss.last > 1", FALLING) is False
    assert said("val_loss.last > 1 or train_loss.last > 1", FALLING) is True


def test_a_nan_is_neither_above_nor_below_but_isfinite_tells() -> None:
    broken = [1.0, math.nan]
    assert said("val_loss.last > 0", broken) is None
    assert said("not isfinite(val_loss.last) and val_loss.nan_count == 1", broken) is True
    assert said("val_loss.best == 1 and val_loss.mean(2) == 1", broken) is True
    assert said("val_loss.best > 0", [math.nan]) is None
    assert said("val_loss.steps_since_best > 0", [math.nan]) is None


def test_best_is_the_highest_where_higher_is_better() -> None:
    assert said("val_metric.best == 4", FALLING, better=Better.HIGHER) is True
    assert said("val_metric.best_step == 0", FALLING, better=Better.HIGHER) is True


def test_seconds_since_last_uses_our_clock_and_makes_the_rule_one_of_the_clock() -> None:
    text = "train_loss.seconds_since_last > 600"
    assert compile_expr(text).timed
    assert not compile_expr("train_loss.last > 600").timed
    assert said(text, FALLING, now=1500.0) is False
    assert said(text, FALLING, now=1700.0) is True
    both = "val_loss.seconds_since_last > 170 and train_loss.last > 0"
    assert said(both, [1.0], [1.0, 2.0, 3.0, 4.0], now=1000.0) is True  # behind the newest


def test_ema_agrees_with_pandas() -> None:
    import pandas as pd

    values = np.random.default_rng(0).normal(size=100)
    want = pd.Series(values).ewm(span=7).mean().iloc[-1]
    assert said(f"abs(val_loss.ema(7) - {want!r}) < 1e-9".replace("np.float64", ""), [*values])


def test_the_inputs_are_the_series_named_the_first_is_the_trigger() -> None:
    made = compile_expr('"Loss/val*".last > val_loss.best and "Loss/val*".first > 1')
    assert dict(made.inputs) == {
        "value": Selector(tag="Loss/val*"),
        "val_loss": Selector(role=Role.VAL_LOSS),
    }


def test_the_reason_is_the_expression_with_the_numbers_filled_in() -> None:
    made = compile_expr("val_loss.last > 1.2 * val_loss.best\n  and train_loss.mean(3) > 0")
    shown = made.filled(Inputs({"value": window(FALLING)}), 0.0)
    assert (
        shown == "val_loss.last (2) > 1.2 * val_loss.best (1) and train_loss.mean(3) (unknown) > 0"
    )


@pytest.mark.parametrize(
    ("text", "message", "marked"),
    [
        ("val_los.last > 2", 'did you mean "val_loss"?', "val_los"),
        ("val_loss.lst > 2", 'did you mean "last"?', "val_loss.lst"),
        ('"é/x".lst > 2', 'did you mean "last"?', '"é/x".lst'),
        ("  val_loss > 2", "write val_loss.last", "val_loss"),
        ("'a/b' > 2", "needs a field", "'a/b'"),
        ("val_loss.last", "compare it with something", "val_loss.last"),
        ("val_loss.mean > 1", "write mean(20)", "val_loss.mean"),
        ("val_loss.last(3) > 1", "write last", "val_loss.last(3)"),
        ("val_loss.mean(0) > 1", "from 1 to 512", "val_loss.mean(0)"),
        ("val_loss.mean(513) > 1", "from 1 to 512", "val_loss.mean(513)"),
        ("val_loss.pct_change(512) > 1", "from 1 to 511", "val_loss.pct_change(512)"),
        ("val_loss.mean(n=3) > 1", "whole number", "val_loss.mean(n=3)"),
        ("val_loss.mean(True) > 1", "whole number", "val_loss.mean(True)"),
        ("val_loss.last ** 2 > 1", "multiply", "val_loss.last ** 2"),
        ("val_loss.last in (1, 2)", "compare with", "val_loss.last in (1, 2)"),
        ("val_loss.last > [1]", "not part of the language", "[1]"),
        ("(lambda: 1)() > val_loss.last", "not part of the language", "(lambda: 1)()"),
        ("__import__('os').last > 1", "not a series", "__import__('os')"),
        ("eval('1') > val_loss.last", "not a function", "eval"),
        ("val_loss.last.__class__ > 1", "not a series", "val_loss.last"),
        ("val_loss.__class__ > 1", "not a field", "val_loss.__class__"),
        ("log(val_loss.last, 2) > 1", "takes 1 number", "log(val_loss.last, 2)"),
        ("min(val_loss.last) > 1", "at least 2", "min(val_loss.last)"),
        ("isfinite(val_loss.last) > 1", "is a condition", "isfinite(val_loss.last)"),
        ("True < val_loss.last", "not numbers", "True"),
        ("1 < 2", "names no series", "1 < 2"),
        ("val_loss.last >", "cannot be read", ""),
        ("val_loss.last > 1 && val_loss.last < 2", 'write "and"', None),
        ("val_loss.last < 1 || val_loss.last > 2", 'write "or"', None),
        ("!(val_loss.last > 1)", 'write "not"', None),
        ("val_loss.last = 1", 'write "=="', None),
        ("", "cannot be read", ""),
        ("not " * 40 + "val_loss.last > 1", "too large", None),
        ("(" * 300 + "1", "cannot be read", None),
        ("1" * 2000, "longer than", None),
        (f"val_loss.last > {'9' * 400}", "too large a number", None),
    ],
)
def test_what_is_refused_is_marked(text: str, message: str, marked: str | None) -> None:
    with pytest.raises(ExprError) as error:
        compile_expr(text)
    said, shown, caret = str(error.value).split("\n")
    assert message in said
    if marked:
        start = caret.index("^")
        assert shown[start : start + caret.count("^")] == marked


@given(st.text(alphabet="val_loss.train()<>+-*/ 0123456789\"'andornt[]{}:=,@é\n", max_size=60))
def test_no_text_does_anything_but_compile_or_be_refused(text: str) -> None:
    try:
        made = compile_expr(text)
    except ExprError:
        return
    assert made.decide(Inputs({"value": window(FALLING)}), 0.0) in (True, False, None)


@given(st.lists(st.floats(), max_size=40))
def test_no_curve_makes_an_expression_raise(values: list[float]) -> None:
    text = (
        "train_loss.slope(3) / train_loss.std(4) > log(train_loss.best) // train_loss.ema(5)"
        " or sqrt(train_loss.pct_change(2)) % train_loss.last < exp(train_loss.median(3))"
    )
    assert said(text, values) in (True, False, None)

"""Tests of windows: bounded, exact where they say so, and blind to how points arrived."""

from __future__ import annotations

import itertools
import math
import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from watcher.series import BUCKETS, TAIL, Window, judged_at

steps_and_values = st.lists(
    st.tuples(
        st.integers(0, 2),  # how far the step moves on; 0 repeats it
        st.one_of(st.floats(-1e9, 1e9), st.sampled_from([math.nan, math.inf, -math.inf])),
    ),
    min_size=1,
    max_size=1500,
)


def arrays(points):
    step = np.cumsum([s for s, _ in points]).astype(np.int64)
    value = np.array([v for _, v in points], float)
    return step, np.arange(len(points), dtype=float), value


def grown(step, wall, value, cuts):
    window = Window()
    edges = [0, *sorted(cuts), len(step)]
    for start, stop in itertools.pairwise(edges):
        window.extend(step[start:stop], wall[start:stop], value[start:stop])
    return window


def seen(window):
    curve = window.curve
    parts = [window.step, window.wall_time, window.value]
    parts += [curve.step, curve.mean, curve.low, curve.high]
    numbers = [len(window), window.count, curve.size, window.first_step, window.first_value]
    return [p.tobytes() for p in parts], repr(numbers), repr(window.extremes), window.last_step


@given(steps_and_values, st.data())
def test_a_window_depends_on_the_points_not_on_how_they_were_split(points, data):
    step, wall, value = arrays(points)
    cuts = data.draw(st.lists(st.integers(0, len(step)), max_size=20))
    assert seen(grown(step, wall, value, cuts)) == seen(grown(step, wall, value, []))


@given(steps_and_values)
def test_aggregates_are_exact_and_of_a_repeated_step_the_last_value_counts(points):
    step, wall, value = arrays(points)
    window = grown(step, wall, value, [])
    kept = np.append(step[1:] != step[:-1], True)
    step, value = step[kept], value[kept]
    finite = np.isfinite(value)
    assert len(window) == len(step)
    assert window.extremes.nonfinite == int((~finite).sum())
    if finite.any():
        low = int(np.argmin(value[finite]))
        assert window.extremes.low == value[finite][low]
        assert window.extremes.low_step == step[finite][low]
        assert window.extremes.high == value[finite].max()
    else:
        assert math.isnan(window.extremes.low)
    bad = step[~finite]
    assert window.first_nonfinite_step == (int(bad[0]) if len(bad) else None)
    assert window.step.tolist() == step[-TAIL:].tolist()


@given(st.integers(1, 20_000))
def test_the_curve_keeps_its_mean_and_its_extremes_in_bounded_space(n):
    value = np.sin(np.arange(n) / 7.0)
    window = grown(np.arange(n), np.arange(n, dtype=float), value, [])
    curve = window.curve
    assert len(curve.step) <= BUCKETS + 1
    assert np.nanmin(curve.low) == value.min()
    assert np.nanmax(curve.high) == value.max()
    full = curve.mean[: n // curve.size]
    expected = value[: len(full) * curve.size].reshape(-1, curve.size).mean(axis=1)
    np.testing.assert_allclose(full[: len(expected)], expected, atol=1e-12)
    assert curve.step[0] == 0


def test_a_long_window_stays_under_forty_kilobytes():
    n = 300_000
    window = grown(np.arange(n), np.arange(n, dtype=float), np.random.default_rng(1).random(n), [])
    assert len(pickle.dumps(window)) < 40_000


def test_an_empty_window_has_no_values():
    window = Window()
    assert len(window) == 0
    assert math.isnan(window.last_value)
    assert math.isnan(window.extremes.low)
    assert len(window.curve.step) == 0


def test_checkpoints_are_dense_at_first_and_never_more_than_250_apart():
    counts = judged_at(0, 100_000)
    assert judged_at(1_000, 2_000) == [n for n in counts if 1_000 < n <= 2_000]
    assert counts[:96] == list(range(1, 97))
    gaps = np.diff(counts)
    assert gaps.max() == 250
    assert (gaps <= np.maximum(1, np.array(counts[:-1]) // 48)).all()

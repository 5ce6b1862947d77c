"""Tests of what plateau, underfitting and slow learning share: short cuts say what is so."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.detectors.curves import window_of
from watcher.detectors._settled import Flat, at_rest, surely_fallen
from watcher.detectors._trend import opening


@given(
    st.integers(3, 700), st.floats(0.05, 1), st.sampled_from([0.0, 0.002, 0.1]), st.integers(0, 99)
)
def test_what_has_surely_fallen_rests_low_or_not_at_all(n, fallen, size, seed):
    rng = np.random.default_rng(seed)
    value = (1 - fallen * (1 - np.exp(-np.arange(n) / 10))) * np.exp(rng.normal(0, size, n))
    window = window_of(value)
    for by in (0.1, 0.3, 0.7):
        if surely_fallen(window, Flat(), by):
            rest = at_rest(window, Flat())
            assert rest is None or rest.fallen >= by


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40), st.floats(0, 1e6))
def test_an_exploded_first_value_is_no_start(rest, jump):
    value = np.array([rest[0] + jump, *rest])
    wide = 10 * float(np.ptp(value[1:]))
    fall = float(value[0] - value[1])
    far = len(value) >= 4 and value[0] > 5 * value[1]
    assert opening(value) == int(far and fall > wide > 0)

from __future__ import annotations

import numpy as np
import pytest

from tests.detectors.curves import noise, window_of
from watcher.converged import converged

PAIR = [0.2105, 0.1612, 0.1380, 0.1251, 0.1166, 0.1105, 0.1064, 0.1033, 0.1012, 0.0998]
PAIR += [0.0986, 0.0978, 0.0972, 0.0967, 0.0963, 0.0960, 0.0957, 0.0954, 0.0952, 0.0950]


def test_a_loss_that_levels_off_has_converged_with_its_step_and_best():
    done = converged(window_of(PAIR))
    assert done is not None
    assert 11 <= done.step <= 15
    assert (done.best_step, done.best_value) == (20, 0.0950)
    assert "of the descent" in done.reason


@pytest.mark.parametrize("n", [100, 600, 5000])
def test_noise_and_length_move_the_step_little(n):
    u = np.linspace(0, 1, n)
    done = converged(window_of((0.05 + np.exp(-u / 0.08)) * noise(n, 0.03, n)))
    assert done is not None
    assert 0.15 * n < done.step < 0.5 * n


def test_the_end_of_the_schedule_is_named():
    rate = window_of(np.cos(np.linspace(0, np.pi / 2, 20)))
    done = converged(window_of(PAIR), rate)
    assert done is not None
    assert "learning rate" in done.reason


@pytest.mark.parametrize(
    "values",
    [
        PAIR[:5],
        np.linspace(1, 0.2, 50),
        0.69 * noise(60, 0.01),
        np.concatenate((np.linspace(1, 0.2, 20), np.linspace(0.2, 0.8, 40))),
        np.full(30, np.nan),
        np.ones(30),
    ],
    ids=["few", "falling", "flat", "turned", "nan", "constant"],
)
def test_what_still_falls_never_fell_or_turned_has_not_converged(values):
    assert converged(window_of(values)) is None

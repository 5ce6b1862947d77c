"""Windows and looks for the tests of detectors of conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from watcher.detectors import Detect, Inputs
from watcher.model import Better, Verdict
from watcher.series import Window, judged_at

Values = Sequence[float] | np.ndarray[Any, np.dtype[np.float64]]


def window_of(values: Values, start: int = 1, every: int = 1) -> Window:
    window = Window()
    value = np.asarray(values, np.float64)
    step = start + every * np.arange(len(value), dtype=np.int64)
    window.extend(step, step.astype(np.float64), value)
    return window


def say(detect: Detect, params: Any, **series: Values | Window) -> Verdict:
    """Ask a detector about whole curves."""
    windows = {k: v if isinstance(v, Window) else window_of(v) for k, v in series.items()}
    return detect(Inputs(windows, better={"metric": Better.HIGHER}), params, 0.0)


def looks(detect: Detect, params: Any, **series: Values) -> Mapping[int, Verdict]:
    """Ask whenever they are judged, of curves that grow together, as the service does."""
    windows = {name: Window() for name in series}
    n, at, said = len(next(iter(series.values()))), 0, {}
    for to in judged_at(0, n):
        for name, values in series.items():
            step = np.arange(at + 1, to + 1, dtype=np.int64)
            windows[name].extend(step, step.astype(float), np.asarray(values[at:to], np.float64))
        said[to] = detect(Inputs(windows), params, 0.0)
        at = to
    return said


def noise(n: int, spread: float, seed: int = 0) -> Any:
    """Multiplicative noise, correlated as batch losses are."""
    rng = np.random.default_rng(seed)
    white = rng.normal(0, spread, n)
    for i in range(1, n):
        white[i] += 0.3 * white[i - 1]
    return np.exp(white)

"""What do the detectors of instability share? A curve's noise, robust and taken where it is.

The spread is taken from differences of neighbours, so that the descent itself does not count, and
by quantiles, so that a few wild points do not either. Values of a loss that stays positive are
compared by their logarithm: noise there is a part of the level, and a factor is what people see.
"""

from __future__ import annotations

import math

import numpy as np

from watcher.model import Floats, Ints

SHORT = 24  # points: fewer are judged as evaluations, each of which people look at
CORRELATED = 1.4  # a correlation of 0.4 from point to point hides this factor of the spread
MAD = 1.4826  # makes a median absolute deviation a standard deviation, under normal noise


def times(ratio: float) -> str:
    """Write a factor as people say it: ``1.6``, ``240``, ``1.2e+06``."""
    return f"{ratio:.1f}" if ratio < 100 else f"{ratio:.0f}" if ratio < 1e5 else f"{ratio:.2g}"


def as_scale(value: Floats) -> tuple[Floats, bool]:
    """Return the logarithm of all-positive values and True, else the values as they are."""
    if len(value) and float(value.min()) > 0:
        return np.log(value), True
    return value, False


def median(value: Floats) -> float:
    """Return the median, NaN if a value is NaN; ``np.median`` costs much more."""
    ordered = np.sort(value)
    n = len(ordered)
    if math.isnan(ordered[-1]):
        return math.nan
    return float(ordered[n // 2] if n % 2 else (ordered[n // 2 - 1] + ordered[n // 2]) / 2)


def medians(rows: Floats, sizes: Ints | None = None) -> Floats:
    """Return the median of each row, or of the first ``sizes`` of each where the rest is inf."""
    ordered = np.sort(rows, axis=1)
    if sizes is None:
        n = ordered.shape[1]
        middle: Floats = (ordered[:, (n - 1) // 2] + ordered[:, n // 2]) / 2
        return middle
    which = np.arange(len(rows))
    return (ordered[which, (sizes - 1) // 2] + ordered[which, sizes // 2]) / 2


def came_back(value: Floats) -> float:
    """Return the largest rise over its running minimum that a curve shows."""
    return float((value - np.minimum.accumulate(value)).max())


def spread(value: Floats) -> float:
    """Return the noise of single points about their course, as a standard deviation; 0 if short.

    From second differences, where the course is a line; ``CORRELATED`` allows for batches that
    resemble their neighbours. Of a short curve that turns cleanly (its last three changes go one
    way), where every bend would count as noise, from third differences if they say less.
    """
    if len(value) < 6:
        return 0.0
    change = value[1:] - value[:-1]
    bend = change[1:] - change[:-1]
    # differences of order k of independent noise of spread 1 have the spread in the divisor
    second = MAD * median(np.abs(bend)) / 2.4495
    if len(value) >= SHORT:
        return CORRELATED * second
    third = MAD * median(np.abs(bend[1:] - bend[:-1])) / 4.4721
    clean = abs(float(np.sign(change[-3:]).sum())) == 3
    return min(second, third) if clean else max(second, third)

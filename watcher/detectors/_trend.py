"""What do the detectors of slow conditions share? A trend with its error, levels, the schedule.

Training noise is correlated from point to point, so the spread of single points says too little
about the error of a trend. It is taken from batch means instead (Schmeiser, Operations Research
30, 1982): the points are put into at most ``BATCHES`` equal batches, a line is fitted through the
batches' means, and what is left over around the line is the error. That holds as long as the
correlation is shorter than a batch.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from watcher.model import Floats, Ints
from watcher.series import Window

BATCHES = 10  # enough degrees of freedom, and batches long enough to be nearly independent

# Student's t by degrees of freedom 1 ... 8. A trend is looked at hundreds of times while a curve
# grows, but looks are dependent: some ten of them a doubling of the curve are new. SURE is the
# one-sided 0.05 % point, a level that held in simulation, not a bound that is proven for repeated
# looks; LIKELY is the 1 % point.
SURE = (636.6, 31.60, 12.92, 8.610, 6.869, 5.959, 5.408, 5.041)
LIKELY = (31.82, 6.965, 4.541, 3.747, 3.365, 3.143, 2.998, 2.896)

# The 5 % point, as is usual for ruling something out (a test of equivalence).
USUAL = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860)

EXPLODED = 5.0  # times the second value: a first epoch learns less (0.9 to 0.3, 2.3 to 0.5)
ANNEALED = 0.1  # a learning rate under this part of its peak is at the end of its schedule


@dataclass(frozen=True, slots=True)
class Trend:
    """A line through some points: ``level`` at their middle, ``rise`` from first to last.

    ``error`` is the standard error of ``rise``; ``freedom`` its degrees of freedom.
    """

    level: float
    rise: float
    error: float
    freedom: int

    def surely_rises(self) -> bool:
        """Whether the rise holds under repeated looks."""
        return self.rise > SURE[self.freedom - 1] * self.error

    def likely_rises(self) -> bool:
        """Whether the rise holds where other evidence points the same way."""
        return self.rise > LIKELY[self.freedom - 1] * self.error

    def likely_falls(self) -> bool:
        """Whether a fall is more than noise would show once in a hundred looks."""
        return -self.rise > LIKELY[self.freedom - 1] * self.error

    def stays(self, margin: float) -> bool:
        """Whether a change by more than ``margin``, a part of the level, can be ruled out."""
        return abs(self.rise) + self.doubt <= margin * self.level

    @property
    def doubt(self) -> float:
        """How far below or above ``rise`` the truth may well lie: half its 90 % interval."""
        return USUAL[self.freedom - 1] * self.error


@functools.lru_cache(maxsize=4096)
def _plan(n: int) -> tuple[npt.NDArray[np.intp], Floats, Floats, float]:
    """Return where the batches of ``n`` points start, their sizes, places and their square."""
    k = min(n, BATCHES)
    edges = np.arange(k + 1) * n // k
    middle = (edges[1:] + edges[:-1] - 1) / 2
    place = (middle - middle.mean()) / max(1, n - 1)
    return edges[:-1], np.diff(edges).astype(np.float64), place, float(place @ place)


def batches(values: Floats) -> Floats:
    """Return the means of at most ``BATCHES`` equal parts, in order."""
    starts, sizes, _, _ = _plan(len(values))
    means: Floats = np.add.reduceat(values, starts) / sizes
    return means


def trend(values: Floats) -> Trend:
    """Fit a line through at least three finite values."""
    starts, sizes, place, square = _plan(len(values))
    means = np.add.reduceat(values, starts) / sizes
    level = float(np.add.reduce(means)) / len(means)
    rise = float(place @ means) / square
    left = means - level - rise * place
    freedom = len(means) - 2
    return Trend(level, rise, math.sqrt(float(left @ left) / freedom / square), freedom)


def finite(window: Window) -> tuple[Ints, Floats]:
    """Return steps and values of the whole curve, without what is not finite."""
    return window.finite_curve


def after_last(marked: npt.NDArray[np.bool_]) -> int:
    """Return the index after the last that is marked, 0 if none is."""
    at = np.flatnonzero(marked)
    return int(at[-1]) + 1 if len(at) else 0


def alike(values: Floats, within: float) -> bool:
    """Whether all values are the last one, but for this part of it."""
    last = float(values[-1])
    return bool((abs(values - last) <= within * abs(last)).all())


def mean(values: Floats) -> float:
    """Return the mean; ``np.mean`` costs several times as much on few values."""
    return float(np.add.reduce(values)) / len(values)


def opening(values: Floats) -> int:
    """Return the index of the first value that counts as the start: 1 after an exploded first.

    A first value that is ``EXPLODED`` times the second, and stands further above it than ten times
    the whole range of all the others (uninitialised scale, a mean over an exploding first epoch),
    says nothing of the task. A smaller fall is what a first epoch may well learn.
    """
    if len(values) < 4 or values[0] <= EXPLODED * values[1]:
        return 0
    fall, second = float(values[0] - values[1]), values[1]
    if fall <= 10 * max(abs(values[-1] - second), abs(values[len(values) // 2] - second)):
        return 0  # the others cover more than that: the common case
    rest = values[1:]
    return int(values[0] - values[1] > 10 * float(rest.max() - rest.min()) > 0)


def scale(values: Floats, level: float) -> float:
    """Return what a change of this curve is measured by, in its own unit.

    The level for a loss that stays positive. A loss that goes below zero has no natural zero, so
    there it is the range covered so far.
    """
    low = float(values.min())
    return abs(level) if low > 0 else float(values.max()) - low


def warming_up(lr: Window | None) -> bool:
    """Whether the learning rate still climbs: at its highest, and higher than a little ago."""
    if lr is None or len(lr) < 2:
        return False
    ago = lr.value[-2 - len(lr.value) // 8 :][0]
    return lr.last_value >= lr.extremes.high > 1.02 * float(ago)


def climbed(what: Window | None, since: int, by: float) -> bool:
    """Whether it is well above what it was at a step, by a factor: it lifts a loss as well."""
    if what is None or len(what) < 2:
        return False
    step, value = finite(what)
    at = int(np.searchsorted(step, since, side="right")) - 1
    return at >= 0 and bool(value[-1] > by * value[at])


def annealed(lr: Window | None) -> bool:
    """Whether the learning rate has come down to the end of its schedule."""
    if lr is None or len(lr) < 2:
        return False
    return lr.last_value <= ANNEALED * lr.extremes.high

"""Has a curve come to rest, and how far down? What plateau, underfitting and slow learning share.

The question is turned round: a curve counts as flat only if an improvement worth having can be
ruled out (a test of equivalence, Schuirmann 1987), so that noise makes a detector silent instead
of loud. The stretch that must be flat is a part of the run so far, since nobody knows how long the
run will be; so the evidence asked for grows with the run, which is also what keeps hundreds of
looks honest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from watcher.detectors._trend import (
    Trend,
    after_last,
    batches,
    finite,
    mean,
    opening,
    scale,
    trend,
)
from watcher.model import Floats
from watcher.series import Window


@dataclass(frozen=True, slots=True)
class Rest:
    """Where a curve rests: ``level`` of its last part, ``start`` it came from, both in its unit.

    ``since`` is the step from which on it has stayed there, ``entries`` how many of the curve's
    have followed.
    ``fallen``: part of the start that is gone; 1 for a loss that crosses zero.
    """

    level: float
    start: float
    since: int
    entries: int
    fallen: float
    rise: float  # over that part, in parts of the level: the most it may be


@dataclass(frozen=True, slots=True)
class Flat:
    """What counts as flat. ``part``: of the curve so far. ``points``: at least so many.

    ``margin``: an improvement over that part, in parts of the level, that must be ruled out; over
    a longer part one in proportion. ``trifle``: an improvement below it is none, however sure.
    ``share``: where the noise hides all that, a part of the descent before, which must be ruled
    out over the longest part; 0 asks for the margin always.
    """

    part: float = 1 / 3
    points: int = 6
    margin: float = 0.02
    trifle: float = 0.004
    share: float = 0.0


RISEN = 0.1  # of the level, above the lowest tenth of the curve: what lies higher came from below
LONGER = (1.0, 1.5, 2.0)  # a noisy curve shows over a longer stretch that it is flat


def at_rest(window: Window, flat: Flat) -> Rest | None:
    """Return where the curve rests, None if it moves, may move, or is too short to say."""
    if len(window) < flat.points + 2:
        return None
    step, value = finite(window)
    n = len(value)
    if n < flat.points + 2:
        return None
    first = opening(value)
    low, high = float(value[first:].min()), float(value[first:].max())
    for longer in LONGER:
        last = max(flat.points, int(n * flat.part * longer))
        if n < last + 2:
            return None
        line = trend(value[-last:])
        unit = abs(line.level) if low > 0 else high - low
        if _flat(line, flat.margin * longer * unit, flat.trifle * unit):
            break
    else:
        if not _spent(line, value[: n - last], flat.share):
            return None
    if line.level - float(batches(value[first:]).min()) > RISEN * unit:
        return None  # it rests where it rose to
    if _begins_to_rise(batches(value[-last:]), flat.margin * unit):
        return None
    start = max(float(value[first]), window.first_value if first == 0 else -np.inf)
    fallen = 1 - line.level / start if start > 0 and low > 0 else 1.0
    at = _since(value, n - last, line.level, flat.margin * unit)
    rise = (line.rise + line.doubt) / unit if unit > 0 else 0.0  # zero to the end: at rest
    return Rest(line.level, start, int(step[at]), n - at, fallen, rise)


def moves_on(window: Window, part: float) -> bool:
    """Whether the last part of a curve that is not at rest likely falls: it was not left there."""
    _, value = finite(window)
    last = value[-max(4, int(len(value) * part)) :]
    return len(last) < 3 or trend(last).likely_falls()


def surely_fallen(window: Window, flat: Flat, by: float) -> bool:
    """Whether ``at_rest`` could only say that the curve has fallen by ``by`` or more, or None.

    Much cheaper: a level is a mean, so it cannot exceed the highest value it is taken from.
    """
    _, value = window.finite_curve
    n = len(value)
    if n < flat.points + 2 or window.extremes.low <= 0:
        return False
    last = max(flat.points, int(n * flat.part * max(LONGER)))
    return float(value[-last:].max()) < 0.999999 * (1 - by) * float(value[opening(value)])


def _flat(line: Trend, margin: float, trifle: float) -> bool:
    """Whether winning ``margin`` can be ruled out, and no more than a trifle is likely."""
    won = -line.rise
    if won + line.doubt > margin or won < -margin:
        return False
    return won <= trifle or not line.likely_falls()


def _spent(line: Trend, before: Floats, share: float) -> bool:
    """Whether it fell before, and has surely won next to nothing of that since."""
    if share <= 0 or not len(before):
        return False
    descent = float(before[: max(1, len(before) // 8)].mean()) - line.level
    won = abs(line.rise) + line.doubt
    return 0 < won <= share * descent and not line.likely_falls()


def _begins_to_rise(parts: Floats, least: float) -> bool:
    """Whether the newest part lies above those just before it, by more than they differ."""
    rise = float(parts[-1]) - mean(parts[-4:-1])
    if rise <= least:
        return False
    change = np.diff(parts[:-1])
    return rise > 3 * math.sqrt(float(change @ change) / len(change) / 2)


def _since(value: Floats, known: int, level: float, tolerance: float) -> int:
    """Return the first index from which on the curve stays near ``level``, at most ``known``.

    Single points stand out by noise, so it goes back over means of a few.
    """
    width = max(1, (len(value) - known) // 4)
    total = np.zeros(known + width + 1)
    value[: known + width].cumsum(out=total[1:])
    smooth = (total[width:] - total[:-width]) / width
    return min(known, after_last(np.abs(smooth - level) > tolerance))


def falls_since(window: Window, since: int, least: float) -> bool:
    """Whether the curve likely falls from a step on, by more than ``least`` parts of its level."""
    step, value = finite(window)
    lately = value[int(np.searchsorted(step, since)) :]
    if len(lately) < 3:
        return False
    line = trend(lately)
    return line.likely_falls() and -line.rise > least * scale(value, line.level)

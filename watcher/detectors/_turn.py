"""Has a curve of a few evaluations turned? What a person would say, point by point.

After the minimum of such a curve there are too few points for a trend with an error. Each of these
knows one shape that is believed all the same, and returns how far the curve has risen.
"""

from __future__ import annotations

import math

import numpy as np

from watcher.detectors._trend import scale
from watcher.model import Floats

FEW = 12  # evaluations: so few are judged as a person would, point by point
STEEP = 0.1  # of the level in one evaluation: a jump, which has to last before it is believed
EARLY = 0.3  # of the level: a rise at once that anyone believes
AFTER = 4  # evaluations after the minimum of a curve that is not smooth
BACK = 0.5  # of a rise: a step down by more, on the way up, asks for twice as many evaluations
ONE = 0.85  # of a rise: more of it from one evaluation may be that one's noise


def level_of(value: Floats) -> float:
    """Return what a rise of this curve is a part of: its minimum, or its range below zero."""
    return scale(value, float(value.min()))


def clean_turn(value: Floats, best: int, least: float) -> float | None:
    """Return the rise of a curve that fell at every step and now rises at every step, else None.

    With two to five points after the minimum there is no trend to test. A curve without a single
    step the wrong way on either side, and without a jump, is smooth enough to be believed; it must
    have risen by ``least`` parts of the level.
    """
    change = np.diff(value)
    falls, rises = change[:best], change[best:]
    if best < 3 or best + len(rises) < 6 or (falls >= 0).any() or (rises <= 0).any():
        return None
    rise, fall = float(value[-1] - value[best]), float(value[0] - value[best])
    if rise < max(least * level_of(value), 0.05 * fall) or rises.max() > min(
        -float(falls.min()), STEEP * level_of(value), ONE * rise
    ):
        return None
    jerk = np.diff(change, 2)  # third differences: curvature is no noise
    noise = math.sqrt(float(jerk @ jerk) / len(jerk) / 20)
    return rise if rise > 2.8 * noise else None


def plain_turn(value: Floats, best: int, least: float, *, suffers: bool) -> float | None:
    """Return the rise of a short curve that anyone sees although it is not smooth, else None.

    The last of the points after the minimum lies above it by ``least`` parts of the level and by
    several times the largest step upwards before, the two before that by half as much, and it did
    not step down by as much in between, unless there are many. Two points will do if the metric
    ``suffers``: by themselves they are as often a bump that passes.
    """
    after = value[best + 1 :]
    if best < 3 or len(value) > FEW or len(after) < (2 if suffers else AFTER):
        return None
    rise = float(value[-1] - value[best])
    before = max(0.0, float(np.diff(value[: best + 1]).max()))
    if rise < max(least * level_of(value), 3 * before):
        return None
    if len(after) < 2 * AFTER and -float(np.diff(after).min()) > BACK * rise:
        return None  # it leaps about, and may as well leap back
    return rise if suffers or float(after[-3:].min()) >= value[best] + rise / 2 else None


def early_turn(value: Floats, best: int) -> float | None:
    """Return the rise of a curve that turned at one of its first evaluations, else None.

    As fine-tunings do. Nothing is known of its noise, so each evaluation must lie above the one
    before, three at least, and the last one ``EARLY`` above the best.
    """
    rises = np.diff(value[best:])
    if best >= 3 or len(rises) < 3 or float(rises.min()) <= 0:
        return None
    rise = float(value[-1] - value[best])
    return rise if rise >= EARLY * level_of(value) else None

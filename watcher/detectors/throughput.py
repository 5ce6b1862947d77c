"""Throughput: steps per second fell by a factor and stayed there. Judges the newest points.

The pace of the newest points is compared with the best sustained pace before, both as medians
over many intervals: an evaluation or a checkpoint is one long interval among many short ones and
moves no median. Every one of ``blocks`` stretches must be slow, which a passing slowness is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from watcher.detectors import Inputs, detector
from watcher.detectors._noise import median
from watcher.model import OK, UNKNOWN, Floats, Severity, Status, Verdict, WallTime


@dataclass(frozen=True, slots=True)
class Throughput:
    """``factor``: how many times slower. ``points``: newest points that must all be slow, in
    ``blocks`` stretches.
    """

    factor: float = 3.0
    points: int = 48
    blocks: int = 4


@detector("throughput", Throughput)
def detect(inputs: Inputs, params: Throughput, now: WallTime) -> Verdict:
    """Breach when the last points took ``factor`` times as long a step as those before.

    OK once they are clearly faster than a stretch before them. UNKNOWN while the pace is the
    same: by then all that is held may be of the slow one.
    """
    window = inputs["value"]
    n = params.points
    if len(window) < 3 * n:
        return UNKNOWN
    wall, step = window.wall_time, window.step
    seconds, steps = wall[1:] - wall[:-1], step[1:] - step[:-1]
    good = (seconds > 0) & (seconds < np.inf) & (steps > 0)
    cost = seconds / steps if good.all() else seconds[good] / steps[good]
    if len(cost) < 3 * n:
        return UNKNOWN
    past, newest = cost[:-n], cost[-n:]
    before, pace = median(past), median(newest)
    slow = params.factor * before
    if pace < slow or min(map(median, np.array_split(newest, params.blocks))) < slow:
        return OK if _was_slower(past, math.sqrt(params.factor) * pace, n) else UNKNOWN
    onset = int(window.step[-n])
    return Verdict(
        Status.BREACH,
        reason=(
            f"a step takes {pace:.3g} s since about step {onset}, "
            f"{pace / before:.1f} times as long as the {before:.3g} s before"
        ),
        onset=onset,
        value=1 / pace,
        severity=Severity.INFO,
        advice="throughput",
    )


def _was_slower(cost: Floats, than: float, points: int) -> bool:
    """Whether so many points in a row took longer than that a step, by their median."""
    if np.count_nonzero(cost >= than) < points // 2:
        return False  # the common case, and cheap
    stretches = np.sort(cost[len(cost) % points :].reshape(-1, points), axis=1)
    return bool(stretches[:, points // 2].max() >= than)

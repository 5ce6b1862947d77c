"""Throughput: steps per second fell by a factor and stayed there. Judges the newest points.

The pace of the newest points is compared with what it was in the best quarter before, both by
medians over many intervals: an evaluation or a checkpoint is one long interval among many short
ones and moves no median. Every one of ``blocks`` stretches must be slow, which a passing slowness
is not. The best quarter, so that a pace that creeps away is seen as well as one that breaks; but
nearly all of what was before must have been faster, or it merely varies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from watcher.detectors import Inputs, at_least, detector
from watcher.detectors._noise import median, medians
from watcher.model import OK, UNKNOWN, Floats, Severity, Status, Verdict, WallTime

BEST, WORST = 0.25, 0.9  # of the stretches before, by their pace
NEW = 1.05  # times the slowest tenth: what was as slow before now and then is nothing new


@dataclass(frozen=True, slots=True)
class Throughput:
    """``factor``: how many times slower by the clock; ``logged``: by a rate that the run logs,
    which is measured without what lies between two steps. ``points``: newest points that must all
    be slow, in ``blocks`` stretches; of a short run a third, ``least`` at any rate.
    """

    factor: float = 3.0
    logged: float = 1.6
    points: int = 48
    least: int = 12
    blocks: int = 4

    def __post_init__(self) -> None:
        """Refuse what cannot be cut into stretches."""
        at_least(self, "blocks", 1)
        at_least(self, "points", self.blocks)


@detector("throughput", Throughput, optional=("throughput",))
@np.errstate(over="ignore", divide="ignore", invalid="ignore")  # absurd rates give no finding
def detect(inputs: Inputs, params: Throughput, now: WallTime) -> Verdict:
    """Breach when the last points took ``factor`` times as long a step as those before, or the
    ``throughput`` that the run logs fell so far. An agent's is an average since its start: it is
    left out.

    OK once they are clearly faster than a stretch before them. UNKNOWN while the pace is the
    same: by then all that is held may be of the slow one.
    """
    window = inputs["value"]
    wall, step = window.wall_time, window.step
    seconds, steps = wall[1:] - wall[:-1], step[1:] - step[:-1]
    good = (seconds > 0) & (seconds < np.inf) & (steps > 0)
    cost = seconds / steps if good.all() else seconds[good] / steps[good]
    status, before, pace = _judged(cost, params.factor, params)
    if status is Status.BREACH:
        onset = int(step[-_newest(cost, params)])
        said = f"since about step {onset} a step takes {pace:.3g} s, {pace / before:.1f} times as"
        return _finding(f"{said} long as the {before:.3g} s before", onset, 1 / pace)
    logged = inputs.get("throughput")
    if logged is None or inputs.run.reinforcement:
        return OK if status is Status.OK else UNKNOWN
    rated = (logged.value > 0) & (logged.value < np.inf)
    cost = 1 / logged.value[rated]
    by_rate, before, pace = _judged(cost, params.logged, params)
    if by_rate is Status.BREACH:
        onset = int(logged.step[rated][-_newest(cost, params)])
        said = f"the throughput that is logged fell from {1 / before:.4g} to {1 / pace:.4g}"
        return _finding(f"{said} by about step {onset}, and stays there", onset, 1 / pace)
    return OK if Status.OK in (status, by_rate) else UNKNOWN


def _judged(cost: Floats, factor: float, params: Throughput) -> tuple[Status, float, float]:
    """Judge what each step cost, in order: the status, and the cost before and now."""
    n, least = _newest(cost, params), max(params.blocks, min(params.least, params.points))
    if n < least:
        return Status.UNKNOWN, 0.0, 0.0
    past, newest = cost[:-n], cost[-n:]
    pace = median(newest)
    if pace >= factor * float(past.min()):  # else nothing before was fast enough: the common case
        paces = np.sort(medians(past[len(past) % least :].reshape(-1, least)))
        before = float(paces[int(BEST * len(paces))])
        slow = max(factor * before, NEW * float(paces[int(WORST * len(paces))]))
        if pace >= slow and min(map(median, np.array_split(newest, params.blocks))) >= slow:
            return Status.BREACH, before, pace
    over = _was_slower(past, math.sqrt(factor) * pace, n)
    return (Status.OK if over else Status.UNKNOWN), pace, pace


def _newest(cost: Floats, params: Throughput) -> int:
    """Return how many of the newest points must be slow."""
    return min(params.points, len(cost) // 3)


def _finding(said: str, onset: int, rate: float) -> Verdict:
    return Verdict(
        Status.BREACH,
        reason=said,
        onset=onset,
        value=rate,
        severity=Severity.INFO,
        advice="throughput",
    )


def _was_slower(cost: Floats, than: float, points: int) -> bool:
    """Whether so many points in a row took longer than that a step, by their median."""
    if np.count_nonzero(cost >= than) < points // 2:
        return False  # the common case, and cheap
    stretches = np.sort(cost[len(cost) % points :].reshape(-1, points), axis=1)
    return bool(stretches[:, points // 2].max() >= than)

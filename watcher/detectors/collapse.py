"""Collapse: what an agent had learned is lost, and stays lost. Judges the whole curve, in batches.

A return climbs from where it began to its best and stays there for a while; it has collapsed if
most of that climb is gone in each of the last batches. Returns wander, so the fall must be many
times what the batches wander while up and while down. A curve that fell by half as much before and
came back, or is on its way up again, is left alone. What a return is measured in does not matter.
A short curve has not shown yet how far it wanders: there the fall must be sudden.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from watcher.detectors import Inputs, at_least, detector
from watcher.detectors._noise import came_back, medians
from watcher.detectors._trend import trend
from watcher.model import OK, UNKNOWN, Floats, Severity, Status, Verdict, WallTime

Places = npt.NDArray[np.int64]
BATCHES = 32
ALL = 0.8  # of the climb: a loss of so much is more than a hint
SUDDEN = 0.75  # of the fall: what a short curve must lose from one batch to the next


@dataclass(frozen=True, slots=True)
class Collapse:
    """``least``: points before anything is said, ``short``: before a slow fall counts.
    ``lost``: part of the climb that must be gone.
    ``stays``: part of the run that it must have been up for, and down since. ``factor``: standard
    deviations of the batches, while up or while down, that the fall must exceed.
    """

    least: int = 32
    short: int = 96
    lost: float = 0.6
    stays: float = 1 / 6
    factor: float = 6.0

    def __post_init__(self) -> None:
        """Refuse what leaves nothing to compare."""
        at_least(self, "least", BATCHES)


@detector("collapse", Collapse)
@np.errstate(over="ignore", invalid="ignore")  # absurd scales give no finding, no noise
def detect(inputs: Inputs, params: Collapse, now: WallTime) -> Verdict:
    """Breach when most of what a return had climbed is gone, and stays gone.

    OK while it is near its best, or well on its way back to it; UNKNOWN in between.

    The onset is where it left the stretch about its best, the best step the highest point of the
    best batch.
    """
    step, value = inputs["value"].finite_curve
    if len(value) < params.least:
        return UNKNOWN
    edges, places, beyond = _plan(len(value))
    means = np.add.reduceat(value, edges[:-1]) / np.diff(edges)
    last = math.ceil(BATCHES * params.stays)
    top = float(means.max())
    if top - float(means[-last:].min()) < params.lost / 2 * (top - float(means[:2].mean())):
        return OK  # it is near its best: the common case, and cheap
    level = medians(np.where(beyond, np.inf, value[places]), np.diff(edges))
    best = BATCHES - 1 - int(level[::-1].argmax())  # of equals the last: a success rate of 1
    if _recovers(level[best:]):
        return OK
    climb = float(level[best] - level[:2].mean())
    fall = float(level[best] - level[-last:].max())
    if not 0 < params.lost * climb <= fall:
        return UNKNOWN  # somewhere between: what was said stays said
    whole = max(climb, fall)  # it may have fallen to below where it began
    high = _around(level >= level[best] - (1 - params.lost) * whole, best)
    low = _around(level <= level[best] - params.lost * whole, BATCHES - 1)
    if high.stop - high.start < last or best < last:
        return UNKNOWN  # it never was there to stay
    wanders = max(float(level[high].std()), float(level[low].std()))
    if fall < params.factor * wanders or fall <= 2 * came_back(-level[: best + 1]):
        return UNKNOWN
    if len(value) < params.short:
        down = value[edges[high.stop] :]
        if -float(np.diff(level[best:]).min()) < SUDDEN * fall:
            return UNKNOWN
        if len(down) >= 3 and trend(down).likely_rises():
            return UNKNOWN  # as after a level that became harder
    peak, now_at = int(edges[best]), float(level[low].mean())
    gone = (float(level[best]) - now_at) / climb
    how = f"{gone:.0%} of what it had climbed is lost" if gone < 1 else "below where it began"
    return Verdict(
        Status.BREACH,
        reason=f"the return fell from {level[best]:.4g} near step {int(step[peak])} to"
        f" {now_at:.4g}: {how}, and stays there",
        onset=int(step[edges[high.stop]]),
        value=now_at,
        best=int(step[peak + int(value[peak : edges[best + 1]].argmax())]),
        best_value=float(level[best]),
        severity=Severity.WARNING if gone >= ALL else Severity.INFO,
        advice="collapse",
    )


@functools.lru_cache(maxsize=1024)
def _plan(n: int) -> tuple[Places, Places, npt.NDArray[np.bool_]]:
    """Return where the batches of ``n`` points end, and a row of places for each; the rows are of
    one length, and what lies ``beyond`` a batch is marked.
    """
    edges = np.linspace(0, n, BATCHES + 1).astype(np.int64)
    places = edges[:-1, None] + np.arange(np.diff(edges).max())
    return edges, np.minimum(places, n - 1), places >= edges[1:, None]


def _around(holds: npt.NDArray[np.bool_], place: int) -> slice:
    """Return the stretch around a place over which it holds."""
    fails = np.flatnonzero(~holds)
    at = int(np.searchsorted(fails, place))
    begin = int(fails[at - 1]) + 1 if at else 0
    return slice(begin, int(fails[at]) if at < len(fails) else len(holds))


def _recovers(level: Floats) -> bool:
    """Whether it is on its way up again: a third of the fall above its lowest."""
    low = float(level.min())
    return float(level[-1]) - low > (float(level[0]) - low) / 3

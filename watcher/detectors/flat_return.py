"""Flat return: an agent's return has not risen since the first episodes. Judges the whole curve.

Returns scatter from episode to episode, and where rewards are rare nothing shows for long: so it
is asked late, and it is a hint. A line through the curve must not rise by more than its own
standard error, and no stretch may lie above the first one by more than stretches differ from their
neighbours. A return that rests at its highest has nothing left to win; one that is positive and
steady, or whose beginning was not seen, may be that of an agent that had learned before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from watcher.detectors import Inputs, at_least, detector
from watcher.detectors._noise import MAD, median, spread
from watcher.detectors._trend import finite, mean, trend
from watcher.model import OK, UNKNOWN, Severity, Status, Verdict, WallTime

SAME = 2.0  # standard deviations of stretches: so far above the first, the last one may be higher
STRETCHES = 16  # of the curve: their means are compared
CEILING = 0.02  # of the range: so near its highest, a return rests there
STEADY = 0.2  # of its level: who scatters less has something to lose already
RISEN = 2.0  # times ``above``: a stretch as high above the first takes the finding back


@dataclass(frozen=True, slots=True)
class FlatReturn:
    """``least``: points before it is asked. ``above``: standard deviations of stretches."""

    least: int = 200
    above: float = 5.0

    def __post_init__(self) -> None:
        """Refuse what leaves no stretches to compare."""
        at_least(self, "least", 4 * STRETCHES)


@detector("flat_return", FlatReturn)
@np.errstate(over="ignore", invalid="ignore")  # absurd scales give no finding, no noise
def detect(inputs: Inputs, params: FlatReturn, now: WallTime) -> Verdict:
    """Breach while the return has not risen; OK once it surely has, UNKNOWN in between."""
    window = inputs["value"]
    if len(window) < params.least:
        return UNKNOWN
    if window.first_step > window.last_step - window.first_step:
        return UNKNOWN
    step, value = finite(window)
    if len(value) < 4 * STRETCHES or not math.isfinite(value.sum()):
        return UNKNOWN
    width = len(value) // STRETCHES
    total = np.concatenate(([0.0], np.cumsum(value)))
    smooth = (total[width:] - total[:-width]) / width
    usual = np.abs(np.diff(smooth[::width]))
    noise = MAD * median(usual) / math.sqrt(2)
    first, highest = float(smooth[0]), float(smooth.max())
    line = trend(value)
    if line.likely_rises() or highest - first > RISEN * params.above * noise:
        return OK
    ends = window.extremes
    if median(value[-width:]) >= ends.high - CEILING * (ends.high - ends.low):
        return OK
    now_at = mean(value[-width:])
    if line.rise > line.error or now_at - first > SAME * noise:
        return UNKNOWN
    if highest - first > params.above * noise or spread(value) < STEADY * line.level:
        return UNKNOWN
    return Verdict(
        Status.BREACH,
        reason=f"the return has not risen beyond chance in {window.count} points:"
        f" {first:.4g} at first, {now_at:.4g} now",
        onset=int(step[0]),
        value=window.last_value,
        severity=Severity.INFO,
        advice="flat_return",
    )

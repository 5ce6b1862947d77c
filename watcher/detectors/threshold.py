"""Threshold: the value is outside the bounds the team wrote. Judges every point (an event).

Where the value leaves the bounds, and where it comes back, the rule looks at once; a crossing is
not missed because it lies between two checkpoints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from watcher.detectors import Inputs, detector
from watcher.detectors._trend import after_last
from watcher.model import OK, UNKNOWN, Better, Floats, Status, Verdict, WallTime
from watcher.series import TAIL, Window

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Threshold:
    """``above``, ``below``, ``equal``: breach if the value is; with several, if any holds.

    ``points``: how many points in a row, the newest included. A NaN is none of these: it keeps
    what was said before.
    """

    above: float | None = None
    below: float | None = None
    equal: float | None = None
    points: int = 1

    def __post_init__(self) -> None:
        """Refuse a threshold without a bound, and one that no window can hold."""
        if self.above is None and self.below is None and self.equal is None:
            raise ValueError("needs a bound: above, below or equal")
        if any(v is not None and math.isnan(v) for v in (self.above, self.below, self.equal)):
            raise ValueError("a bound cannot be nan; the nan detector finds NaN")
        if not 1 <= self.points <= TAIL // 2:
            raise ValueError(f"points must be from 1 to {TAIL // 2}, found {self.points}")


def mark(window: Window, values: Floats, params: Threshold) -> Flags:
    """Mark each value that completes ``points`` outside in a row, and the next one back inside."""
    before = window.value[-params.points :]
    every = np.concatenate((before, values))
    outside = _outside(every, params)
    at = np.arange(1, len(every) + 1)
    row = at - np.maximum.accumulate(np.where(outside, 0, at))  # outside in a row, up to here
    previous = np.concatenate(([0], row[:-1]))
    leaves = row == params.points
    returns = ~outside & (previous >= params.points)
    marked: Flags = (leaves | returns)[len(before) :]
    return marked


@detector("threshold", Threshold, events=mark)
def detect(inputs: Inputs, params: Threshold, now: WallTime) -> Verdict:
    """Breach when the last ``points`` values are outside; the onset is where that began."""
    window = inputs["value"]
    value = window.value
    outside = _outside(value, params)
    recent = outside[-params.points :]
    if np.any(~recent & ~np.isnan(value[-params.points :])):
        return OK
    if len(recent) < params.points or not recent.all():
        return UNKNOWN
    start = after_last(~outside)
    found = window.extremes
    lower = inputs.better.get("value", Better.LOWER) is Better.LOWER
    best = found.low if lower else found.high
    known = math.isfinite(best)
    return Verdict(
        Status.BREACH,
        reason=_reason(window.last_value, params),
        onset=int(window.step[start]),
        value=window.last_value,
        best=(found.low_step if lower else found.high_step) if known else None,
        best_value=best if known else None,
    )


def _outside(value: Floats, params: Threshold) -> Flags:
    found = np.zeros(len(value), bool)
    if params.above is not None:
        found |= value > params.above
    if params.below is not None:
        found |= value < params.below
    if params.equal is not None:
        found |= value == params.equal
    return found


def _reason(value: float, params: Threshold) -> str:
    if params.above is not None and value > params.above:
        said = f"above {params.above:g}"
    elif params.below is not None and value < params.below:
        said = f"below {params.below:g}"
    else:
        said = f"equal to {params.equal:g}"
    row = f" for {params.points} points in a row" if params.points > 1 else ""
    return f"value {value:.4g} is {said}{row}"

"""When should this have stopped? Information for every run, not an alert.

A run has converged where its loss has stayed within a small part of its whole descent for a good
part of the run, or where the learning rate has come to its end and the loss rests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from watcher.detectors._trend import annealed, finite, opening
from watcher.model import Floats
from watcher.series import Window

POINTS = 8  # fewer say nothing about the end of a descent
NEAR = 0.02  # parts of the descent that no longer matter
SHARE = 0.25  # of the run that must lie within NEAR of the end
RISEN = 0.1  # parts of the descent above its best: that is a loss that turned, not one that rests


@dataclass(frozen=True, slots=True)
class Converged:
    """``step`` from which on nothing worth having was won; the best point, and why."""

    step: int
    best_step: int
    best_value: float
    reason: str


def converged(window: Window, lr: Window | None = None) -> Converged | None:
    """Return when the loss of ``window`` had come to rest, None if it has not (or never fell).

    The first step is the answer from which on the smoothed loss lies within ``NEAR`` of the
    descent above its best. ``lr``, where there is one, only adds to the reason. Noise larger than
    the descent, a loss that never fell and one that rose again all give None.
    """
    if len(window) < POINTS:
        return None
    step, value = finite(window)
    if len(value) < POINTS:
        return None
    smooth, width = _smoothed(value)
    best = int(smooth.argmin())
    first = opening(value)
    descent = float(value[first] - smooth[best])
    noise = float(np.abs(np.diff(value)).mean())
    if descent <= 4 * noise / np.sqrt(width) or smooth[-1] - smooth[best] > RISEN * descent:
        return None
    there = int(np.argmax(smooth <= smooth[best] + NEAR * descent)) + width // 2
    if len(value) - there < max(SHARE * len(value), 3):
        return None
    low = window.extremes
    left = float(value[first] - smooth[min(there, len(smooth) - 1)]) / descent
    reason = f"{min(left, 1.0):.0%} of the descent was done by step {int(step[there])}"
    reason += f" of {window.last_step}"
    reason += ", and the learning rate is at its end" if annealed(lr) else ""
    return Converged(int(step[there]), low.low_step, low.low, reason)


def _smoothed(value: Floats) -> tuple[Floats, int]:
    """Return means over a sixteenth of the curve, and how many points that is."""
    width = max(1, len(value) // 16)
    total = np.concatenate(([0.0], np.cumsum(value)))
    return (total[width:] - total[:-width]) / width, width

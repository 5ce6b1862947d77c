"""NaN: a loss is not a number any more, or infinite. Judges every point (an event).

Not a test but an observation, so that looking again costs nothing: the newest value is not
finite. A lone masked point is forgiven if ``tolerate`` says so. Frameworks that leave NaN out of
the mean they log write 0 where nothing is left: a loss that is exactly 0 beside a gradient norm
that is NaN was NaN (Hugging Face's ``logging_nan_inf_filter``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from watcher.detectors import Inputs, detector
from watcher.detectors._trend import after_last
from watcher.model import OK, UNKNOWN, Floats, Severity, Status, Verdict, WallTime
from watcher.series import Window

EMPTY, NEVER = 3, 8  # zeros in a row beside gradients that are NaN; more if it is all there is


@dataclass(frozen=True, slots=True)
class Nan:
    """``tolerate``: how many values in a row may be NaN or infinite without a word.

    ``norm``: this is a gradient's norm and no loss: it has no best, and one that never was finite
    says nothing, since some frameworks log a norm that is always NaN. ``returns``: so is it of an
    agent's return, of which there is none before the first episode ends.
    """

    tolerate: int = 0
    norm: bool = False
    returns: bool = False


def mark(window: Window, values: Floats, params: Nan) -> npt.NDArray[np.bool_]:
    """Mark each value that makes a bad row too long, and the first good one after it."""
    held = window.value[-(params.tolerate + 1) :]
    bad = ~np.isfinite(np.concatenate((held, values)))
    if not bad.any():
        return np.zeros(len(values), bool)
    at = np.arange(1, len(bad) + 1)
    row = at - np.maximum.accumulate(np.where(bad, 0, at))  # bad in a row, up to here
    before = np.concatenate(([0], row[:-1]))
    marked: npt.NDArray[np.bool_] = (row == params.tolerate + 1) | (~bad & (before > 0))
    return marked[len(held) :]


@detector("nan", Nan, optional=("lr", "grad_norm"), events=mark, every=True)
def detect(inputs: Inputs, params: Nan, now: WallTime) -> Verdict:
    """Breach while the newest value is NaN or ±Inf; the onset is where that stretch began.

    ``grad_norm``: tells a loss of 0 that was NaN from one that is 0.
    """
    window = inputs["value"]
    if len(window) == 0:
        return UNKNOWN
    if math.isfinite(window.last_value):
        return _left_out(inputs)
    good = np.isfinite(window.value)
    start = after_last(good)
    if len(window.value) - start <= params.tolerate:
        return UNKNOWN
    low = window.extremes
    if (params.norm or params.returns) and math.isnan(low.low):
        return OK
    first = int(window.step[start])
    if not good.any() and not window.whole and window.first_nonfinite_step is not None:
        first = window.first_nonfinite_step
    # of what is not best where it is lowest there is nothing to go back to
    odd = params.norm or params.returns or inputs.run.need_not_fall
    known = math.isfinite(low.low) and not odd
    what = "NaN" if math.isnan(float(window.value[start])) else "infinite"
    name = "gradient norm" if params.norm else "return" if params.returns else "loss"
    return Verdict(
        Status.BREACH,
        reason=f"the {name} is {what} since step {first}{_before(window, start)}",
        onset=first,
        value=window.last_value,
        best=low.low_step if known else None,
        best_value=low.low if known else None,
        severity=Severity.CRITICAL,
        advice=_advice(inputs, start),
    )


def _before(window: Window, start: int) -> str:
    """Say what it was before; of what is long past only about that is known."""
    if start:
        return f"; it was {window.value[start - 1]:.4g} just before"
    _, curve = window.finite_curve
    return f"; it was about {curve[-1]:.4g} before" if len(curve) else ""


def _left_out(inputs: Inputs) -> Verdict:
    """Breach where nothing but NaN went into the mean that was logged.

    Not in reinforcement learning, nor of a part of a loss: those may be 0 by construction.
    """
    window, norm = inputs["value"], inputs.get("grad_norm")
    if window.last_value != 0 or norm is None or not math.isnan(norm.last_value):
        return OK
    if inputs.run.reinforcement or inputs.run.parts:
        return OK
    start = after_last(window.value != 0)
    zeros = len(window.value) - start
    nans = len(norm.value) - after_last(~np.isnan(norm.value))
    if min(zeros, nans) < (EMPTY if start else NEVER):
        return OK
    first = int(window.step[start])
    return Verdict(
        Status.BREACH,
        reason=f"the loss is exactly 0 since step {first}, and the gradient norm NaN:"
        " only NaN went into the mean that is logged",
        onset=first,
        value=0.0,
        severity=Severity.CRITICAL,
        advice="nan",
    )


def _advice(inputs: Inputs, start: int) -> str:
    """Tell an explosion that announced itself from one that came out of nothing."""
    value = inputs["value"].value[max(0, start - 8) : start]
    value = value[np.isfinite(value)]
    if len(value) >= 4 and value[-1] > 3 * np.median(value) > 0:
        return "nan_explosion"
    return "nan"

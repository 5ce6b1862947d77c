"""Spike: one or few points far outside the local spread, upwards. Judges every point (an event).

A point is compared with the points just before it: it must exceed their median by ``factor`` of
their spread, by ``beyond`` times the largest excursion the window has already seen and come back
from (heavy tails announce themselves), and by a real part of the level. Each point is tested
once, against the past alone, so that looking again cannot make it fire. Under normal noise the
first two conditions together are met less than once in 10^6 points; with heavier tails a needle
of twice the usual level is real, however the noise is called, and is said.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from watcher.detectors import Inputs, detector
from watcher.detectors._noise import as_scale, median
from watcher.model import OK, UNKNOWN, Floats, Ints, Severity, Status, Verdict, WallTime
from watcher.series import Window


@dataclass(frozen=True, slots=True)
class Spike:
    """``context``: points before it that it is compared with, at least ``least``.

    ``factor``: spreads above the median of the later half, less the descent. ``beyond``: times
    their own largest excursion. ``rise``: the least part of the level that is worth a word.
    ``small_rise`` counts instead where the learning rate is logged and did not rise (a restart
    lifts a loss by up to a third), beyond ``small_factor`` spreads: half the level is much to a
    noisy loss, a tenth is much to a calm one.
    ``lasts``: points after which it is no spike any more: it came back, or it is a divergence.
    """

    context: int = 48
    least: int = 24
    factor: float = 9.0
    beyond: float = 2.0
    rise: float = 0.6
    small_rise: float = 0.1
    small_factor: float = 15.0
    lasts: int = 8


def _excess(before: Floats, value: float, params: Spike, *, steady: bool) -> float:
    """Return how far ``value`` exceeds what is asked of a spike; above 0 it is one.

    ``steady``: the learning rate is known, and did not rise.
    """
    every, logs = as_scale(np.append(before, value))
    past, now = every[:-1], float(every[-1])
    half = len(past) // 2
    late = median(past[half:])
    slope = min(0.0, (late - median(past[:half])) / (len(past) - half))
    away = past - late - slope * (np.arange(len(past)) - (half + len(past) - 1) / 2)
    spread = 1.4826 * median(np.abs(away))
    unit = max(abs(late), float(np.ptp(past)))
    level = math.log1p(params.rise) if logs else params.rise * unit
    asked = max(params.factor * spread, params.beyond * float(away.max()), level)
    if steady:
        level = math.log1p(params.small_rise) if logs else params.small_rise * unit
        calm = max(params.small_factor * spread, params.beyond * float(np.ptp(past)), level)
        asked = min(asked, calm)
    return now - late - asked


def mark(window: Window, values: Floats, params: Spike) -> npt.NDArray[np.bool_]:
    """Mark points that may be spikes, and the points after them until the matter is settled."""
    held = window.value[-params.context - params.lasts :]
    every = np.concatenate((held, values))
    rough = np.zeros(len(every), bool)
    # a spike is well above its predecessor or the one before, noise or not: a cheap first sieve
    finite = np.where(np.isfinite(every), every, np.nan)
    with np.errstate(invalid="ignore"):
        usual = np.abs(np.diff(finite[: max(2, len(held))]))
        usual = usual[np.isfinite(usual)]
        noise = params.small_factor / 2 * median(usual) if len(usual) >= 8 else 0.0
        for back in (1, 2, 3):
            size = np.maximum(np.abs(finite[:-back]), 1e-300)
            least = np.maximum(size * params.small_rise * 0.5, noise)
            rough[back:] |= finite[back:] - finite[:-back] > np.minimum(
                least, size * params.rise * 0.5
            )
    near = rough.copy()
    for after in range(1, params.lasts + 1):
        near[after:] |= rough[:-after]
    return near[len(held) :]


@detector("spike", Spike, optional=("lr", "grad_norm"), events=mark)
@np.errstate(
    over="ignore", invalid="ignore", divide="ignore"
)  # absurd scales: no finding, no noise
def detect(inputs: Inputs, params: Spike, now: WallTime) -> Verdict:
    """Breach while one of the last ``lasts`` points is a spike that has not come back.

    OK once the newest point is back within what was usual; UNKNOWN while a level that was reached
    by a jump is kept for longer: then it is no spike, and not over either.
    """
    window = inputs["value"]
    run = inputs.run
    if run.reinforcement or run.adversarial:
        return OK
    if len(window) < params.least + 1:
        return UNKNOWN
    step, value = window.finite_tail
    if len(value) < params.least + 1:
        return UNKNOWN
    before, recent = value[-params.context - params.lasts : -params.lasts], value[-params.lasts :]
    if len(before) == 0 or recent.max() <= before.max():
        kept = len(before) and recent.min() > before[: params.context // 2].max()
        return UNKNOWN if kept else OK
    found = _newest(step, value, inputs.get("lr"), params)
    if found is None:
        return OK
    before = value[max(0, found - params.context) : found]
    if len(value) > found + 1 and value[-1] <= _usual(before):
        return OK
    return _finding(step, value, found, median(before))


def _newest(step: Ints, value: Floats, lr: Window | None, params: Spike) -> int | None:
    """Return the index of the first point of the newest spike among the last points."""
    for at in range(max(params.least, len(value) - params.lasts), len(value)):
        before = value[max(0, at - params.context) : at]
        if value[at] <= before.max():
            continue
        first = int(step[at - len(before)])
        steady = lr is not None and _steady(lr, first, int(step[at]))
        if _excess(before, float(value[at]), params, steady=steady) > 0:
            return at
    return None


def _steady(lr: Window, since: int, until: int) -> bool:
    """Whether the learning rate is known over these steps and never rose by more than a tenth."""
    first, last = np.searchsorted(lr.step, (since, until + 1))
    rates = lr.value[max(0, first - 1) : last]
    return len(rates) >= 2 and bool((rates[1:] <= 1.1 * np.minimum.accumulate(rates)[:-1]).all())


def _usual(before: Floats) -> float:
    """Return up to where a point counts as usual: the highest before, and a half more of that."""
    high, middle = float(before.max()), median(before)
    return high + 0.5 * (high - middle)


def _finding(step: Ints, value: Floats, at: int, usual: float) -> Verdict:
    peak = float(value[at:].max())
    times = f", {peak / usual:.1f} times its usual {usual:.4g}" if usual > 0 else ""
    low = int(value[: at + 1].argmin())
    return Verdict(
        Status.BREACH,
        reason=f"the loss jumped to {peak:.4g} at step {int(step[at])}{times}",
        onset=int(step[at]),
        value=peak,
        best=int(step[low]),
        best_value=float(value[low]),
        severity=Severity.WARNING,
        advice="spike",
    )

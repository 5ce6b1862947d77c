"""Spike: one or few points far outside the local spread, upwards. Judges every point (an event).

A point is compared with the points just before it: it must exceed their median by ``factor`` of
their spread, by ``beyond`` times the largest excursion the window has already seen and come back
from (heavy tails announce themselves), and by a real part of the level. Each point is tested
once, against the past alone, so that looking again cannot make it fire. Under normal noise the
first two conditions together are met less than once in 10^6 points; with heavier tails a needle
of twice the usual level is real, however the noise is called, and is said.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from watcher.detectors import Inputs, at_least, detector
from watcher.detectors._noise import median, medians, times
from watcher.model import OK, UNKNOWN, Floats, Ints, Severity, Status, Verdict, WallTime
from watcher.series import Window

TAIL = 4  # so many that were no news show that its noise has a heavy tail
CLEAR = 1.25  # times its usual: what jumps less far is a hint
STEPPED = 0.6  # of the learning rate before: it was taken back at once
RAISED, RESTARTS = 1.5, 2.0  # times its lowest: a restart; of the level: what one lifts a loss by
JOLT, NORMS = 4.0, 8  # times the usual gradient norm, of so many
ALIKE, OFTEN = 0.5, 2  # of its height, and so many of them before: one more is no news


@dataclass(frozen=True, slots=True)
class Spike:
    """``context``: points before it that it is compared with, at least ``least``.

    ``factor``: spreads above the median of the later half, less the descent. ``beyond``: times
    their own largest excursion. ``rise``: the least part of the level that is worth a word.
    ``small_rise`` counts instead where the learning rate is logged and did not rise (a restart
    lifts a loss by a third, or doubles it), or the gradient norm jumped as well, beyond
    ``small_factor`` spreads: half the level is much to a noisy loss, a tenth to a calm one.
    ``lasts``: points after which it is no spike any more: it came back, or it is a divergence.
    ``few``: points before it that will do where there are no more; then ``few_rise`` is asked, for
    few points know little of their own noise.
    """

    context: int = 48
    least: int = 24
    factor: float = 9.0
    beyond: float = 2.0
    rise: float = 0.6
    small_rise: float = 0.1
    small_factor: float = 15.0
    lasts: int = 8
    few: int = 10
    few_rise: float = 2.0

    def __post_init__(self) -> None:
        """Refuse what nothing can be compared with."""
        at_least(self, "context", 4)


def _excess(rows: Floats, params: Spike, *, steady: bool) -> Floats:
    """Return how far the last of each row exceeds what is asked of a spike; above 0 it is one.

    ``rows``: float64[n, m], each a point after the m - 1 points before it. ``steady``: the
    learning rate is known, and did not rise. Where the first half of the points before lies
    wholly above the second, it is the descent, and tells nothing of what is usual by now.
    """
    short = rows.shape[1] <= params.least
    excess = _excess_of(rows, params, steady=steady, short=short)
    half = (rows.shape[1] - 1) // 2
    if short:
        lately = rows[:, -1 - max(params.few - 2, half) :]
        return np.maximum(excess, _excess_of(lately, params, steady=steady, short=True))
    falls = np.flatnonzero(medians(rows[:, :half]) > rows[:, half:-1].max(axis=1))
    if len(falls):
        later = _excess_of(rows[falls, half:], params, steady=steady, short=False)
        excess[falls] = np.maximum(excess[falls], later)
    return excess


def _excess_of(rows: Floats, params: Spike, *, steady: bool, short: bool) -> Floats:
    """Return ``_excess`` as the whole row has it."""
    logs = rows.min(axis=1) > 0
    if logs.all():
        rows = np.log(rows)
    elif logs.any():
        rows = np.where(logs[:, None], np.log(np.where(logs[:, None], rows, 1.0)), rows)
    past, now = rows[:, :-1], rows[:, -1]
    n = past.shape[1]
    half = n // 2
    late = medians(past[:, half:])
    slope = np.minimum(0.0, (late - medians(past[:, :half])) / (n - half))
    away = past - late[:, None] - slope[:, None] * _places(n)
    spread = 1.4826 * medians(np.abs(away))
    covered = past.max(axis=1) - past.min(axis=1)
    unit = np.maximum(np.abs(late), covered)
    least = params.few_rise if short else params.rise
    level = np.where(logs, math.log1p(least), least * unit)
    # a point that is already on its way up has not come back, and is no excursion yet
    rises = past[:, -1] >= past.max(axis=1)
    furthest = np.where(rises, away[:, :-1].max(axis=1), away.max(axis=1))
    asked = np.maximum(np.maximum(params.factor * spread, params.beyond * furthest), level)
    if steady and not short:
        level = np.where(logs, math.log1p(params.small_rise), params.small_rise * unit)
        calm = np.maximum(np.maximum(params.small_factor * spread, params.beyond * covered), level)
        asked = np.minimum(asked, calm)
    excess: Floats = now - late - asked
    return excess


@functools.lru_cache(maxsize=64)
def _places(n: int) -> Floats:
    """Return the places of ``n`` points about the middle of their later half."""
    places: Floats = np.arange(n, dtype=np.float64) - (n // 2 + n - 1) / 2
    return places


def mark(window: Window, values: Floats, params: Spike) -> npt.NDArray[np.bool_]:
    """Mark points that may be spikes, and the points after them until the matter is settled."""
    held = window.value[-params.context - params.lasts :]
    every = np.concatenate((held, values))
    rough = np.zeros(len(every), bool)
    # a spike stands above its predecessor or the one before: a cheap first sieve, which knows of
    # these points alone, so that it does not matter how they were split over polls
    finite = np.where(np.isfinite(every), every, np.nan)
    with np.errstate(invalid="ignore"):
        for back in (1, 2, 3):
            base = finite[:-back]
            step = np.maximum(np.abs(base), 1e-300) * min(params.rise, params.small_rise) * 0.5
            rough[back:] |= finite[back:] - base > step
    near = rough.copy()
    for after in range(1, params.lasts + 1):
        near[after:] |= rough[:-after]
    return near[len(held) :]


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def begins(window: Window, values: Floats, params: Spike) -> npt.NDArray[np.bool_]:
    """Tell where one of the last ``lasts`` points may be a spike; elsewhere none is.

    Under heavy noise ``mark`` marks nearly every point. Here a point must be higher than the later
    half of its context, and is then tested as ``detect`` does it, in the learning rate's favour.
    """
    held = window.value[-params.context - params.lasts :]
    every = np.concatenate((held, values))
    if not np.isfinite(every).all():
        return np.ones(len(values), bool)
    peak = _peaks(every, params)
    near = peak.copy()
    for after in range(1, params.lasts):
        near[after:] |= peak[:-after]
    return near[len(held) :]


def _peaks(value: Floats, params: Spike) -> npt.NDArray[np.bool_]:
    """Tell which finite values may be spikes, as far as the learning rate leaves it open.

    Those with less than a context before them are not ruled out.
    """
    peak = np.ones(len(value), bool)
    if len(value) > params.context:
        peak[params.context :] = False
        rows = sliding_window_view(value, params.context + 1)
        half = params.context // 2
        lately = _highest(value, half)[params.context - half :]
        high = np.flatnonzero(rows[:, -1] > lately)
        excess = _excess(rows[high], params, steady=True)
        at = high + params.context
        near = 1e-9 * np.maximum(1.0, np.abs(value[at]))  # rounding differs by how many are tested
        peak[at[excess > -near]] = True
    return peak


def _highest(value: Floats, width: int) -> Floats:
    """Return the highest of each ``width`` values in a row that another value follows."""
    high, have = value[:-1], 1
    while have < width:
        by = min(have, width - have)
        high, have = np.maximum(high[:-by], high[by:]), have + by
    return high


@detector("spike", Spike, optional=("lr", "grad_norm"), events=mark, begins=begins)
@np.errstate(
    over="ignore", invalid="ignore", divide="ignore"
)  # absurd scales: no finding, no noise
def detect(inputs: Inputs, params: Spike, now: WallTime) -> Verdict:
    """Breach while one of the last ``lasts`` points is a spike that has not come back.

    OK once the newest point is back within what was usual; UNKNOWN while a level that was reached
    by a jump is kept for longer: then it is no spike, and not over either.
    """
    window = inputs["value"]
    if inputs.run.need_not_fall:
        return OK
    if len(window) < params.few + 1:
        return UNKNOWN
    step, value = window.finite_tail
    if len(value) < params.few + 1:
        return UNKNOWN
    before, recent = value[-params.context - params.lasts : -params.lasts], value[-params.lasts :]
    newest = None
    if len(before) and recent.max() > _lately(before).max():
        newest = _newest(step, value, inputs, params)
    if newest is None or _came_back(value, newest[0], inputs, params):
        return UNKNOWN if _kept(inputs, params) else OK
    found, steady = newest
    if _as_ever(value, found, params, steady=steady):
        return UNKNOWN
    return _finding(step, value, found, median(_lately(_before(value, found, params))))


def _before(value: Floats, at: int, params: Spike) -> Floats:
    return value[max(0, at - params.context) : at]


def _came_back(value: Floats, found: int, inputs: Inputs, params: Spike) -> bool:
    """Whether the newest point is as usual again. Beside a learning rate the next one does not
    count: by then that is surely known.
    """
    known = found + (2 if inputs.get("lr") is not None else 1)
    return len(value) > known and bool(value[-1] <= _usual(_before(value, found, params)))


def _kept(inputs: Inputs, params: Spike) -> bool:
    """Whether all since some point, ``lasts`` of them at least, lies above the points before it by
    as much as makes a spike: a level that a jump reached. Among the points that are held, or in
    the whole curve.
    """
    window = inputs["value"]
    least = params.rise if inputs.get("lr") is None else params.small_rise
    curves = (window.finite_tail,) if window.whole else (window.finite_tail, window.finite_curve)
    half, newest = params.context // 2, float(window.finite_tail[1][-params.lasts :].min())
    for _, value in curves:
        # a part of any points that lie below the newest lies below them: a cheap first question
        parts = value[len(value) % (half // 2) :].reshape(-1, half // 2)
        if len(value) > params.context and parts.max(axis=1).min() < newest:
            lowest = np.minimum.accumulate(value[::-1])[::-1][half : -params.lasts]
            before = _highest(value, half)[: len(lowest)]
            before = before + least * np.abs(before)
            if bool(((lowest > before) & (newest > before)).any()):
                return True
    return False


def _as_ever(value: Floats, found: int, params: Spike, *, steady: bool) -> bool:
    """Whether at least two spikes half as high stand among the points before: a short last batch,
    an evaluation in between. That is what this loss does, and was said.
    """
    if _heavy(value[: found + 1], params):
        return True
    peaks = np.flatnonzero(_peaks(value[: found + 1], params))
    earlier = peaks[(peaks >= params.context) & (peaks < found - params.lasts)]
    if len(earlier) == 0:
        return False
    rows = np.stack([value[at - params.context : at + 1] for at in earlier.tolist()])
    earlier = earlier[_excess(rows, params, steady=steady) > 0]
    places = [*earlier.tolist(), found]
    usual = [median(_lately(_before(value, at, params))) for at in places]
    high = value[places] - np.array(usual)
    alike = earlier[high[:-1] >= ALIKE * high[-1]]
    return _occasions(alike, params) >= OFTEN


def _heavy(value: Floats, params: Spike) -> bool:
    """Whether points half as far above the points before them as the last one have come often
    enough: then its noise has a heavy tail.
    """
    width = params.context // 2
    if len(value) <= 2 * width or not float(value.min()) > 0:
        return False
    above = np.log(value[width:] / medians(sliding_window_view(value, width)[:-1]))
    high = np.flatnonzero(above[: -params.lasts] >= ALIKE * above[-1])
    return _occasions(high, params) >= TAIL


def _occasions(at: npt.NDArray[np.intp], params: Spike) -> int:
    """Count the peaks at these places; those close together are one."""
    return int((np.diff(at) > params.lasts).sum()) + 1 if len(at) else 0


def _newest(step: Ints, value: Floats, inputs: Inputs, params: Spike) -> tuple[int, bool] | None:
    """Return the index of the first point of the newest spike among the last points, and whether
    it is known that no learning rate lifted it.
    """
    lr, grad = inputs.get("lr"), inputs.get("grad_norm")
    begin = max(0, len(value) - params.context - params.lasts)
    peaks = begin + np.flatnonzero(_peaks(value[begin:], params))
    late: list[int] = peaks[peaks >= max(params.few, len(value) - params.lasts)].tolist()
    for at in late:
        before = _before(value, at, params)
        if value[at] <= _lately(before).max():
            continue
        first, here = int(step[at - len(before)]), int(step[at])
        steady = lr is not None and _steady(lr, first, here)
        steady = steady or (grad is not None and _jolted(grad, first, int(step[at - 1]), here))
        if _excess(value[None, at - len(before) : at + 1], params, steady=steady)[0] <= 0:
            continue
        usual = median(_lately(before))
        small = 0 < usual < value[at] < (1 + RESTARTS) * usual
        if not (small and lr is not None and _restarts(lr, int(step[at - params.few]), here)):
            return at, steady
    return None


def _restarts(lr: Window, since: int, until: int) -> bool:
    """Whether the learning rate rose over these steps, or may have: its next value is due."""
    if (late := _overdue(lr, until)) >= 1:
        return late < 2
    rates = _rates(lr, since, until)
    return len(rates) >= 2 and bool(rates[-1] > RAISED * rates[:-1].min())


def _jolted(grad: Window, since: int, after: int, until: int) -> bool:
    """Whether the gradient norm of the last of these steps is many times the usual: what lifts the
    loss is no learning rate.
    """
    first, last = np.searchsorted(grad.step, (since, until + 1))
    norms, at = grad.value[first:last], grad.step[first:last]
    if len(norms) <= NORMS or at[-1] <= after or not np.isfinite(norms[:-1]).all():
        return False
    return bool(norms[-1] > JOLT * median(norms[:-1]))


def _steady(lr: Window, since: int, until: int) -> bool:
    """Whether the learning rate is known over these steps and never rose by more than a tenth.

    It may be written after the loss of its step: one that is due by now is waited for.
    """
    if _overdue(lr, until) >= 1:
        return False
    rates = _rates(lr, since, until)
    if len(rates) < 2 or rates[-1] < STEPPED * rates[-2]:
        return False  # a new stage, as where layers are set free
    return bool((rates[1:] <= 1.1 * np.minimum.accumulate(rates)[:-1]).all())


def _overdue(lr: Window, step: int) -> float:
    """Return how many of its own intervals the learning rate is behind a step."""
    if len(lr.step) < 2 or step <= lr.last_step:
        return 0.0
    interval = int(lr.step[-1] - lr.step[-2])
    return (step - lr.last_step) / interval if interval > 0 else 0.0


def _rates(lr: Window, since: int, until: int) -> Floats:
    """Return the learning rates that held over these steps."""
    first, last = np.searchsorted(lr.step, (since, until + 1))
    return lr.value[max(0, first - 1) : last]


def _lately(before: Floats) -> Floats:
    return before[len(before) // 2 :]


def _usual(before: Floats) -> float:
    """Return up to where a point counts as usual: the highest before, and a half more of that."""
    lately = _lately(before)
    high, middle = float(lately.max()), median(lately)
    return high + 0.5 * (high - middle)


def _finding(step: Ints, value: Floats, at: int, usual: float) -> Verdict:
    peak = float(value[at:].max())
    factor = f", {times(peak / usual)} times its usual {usual:.4g}" if usual > 0 else ""
    low = int(value[: at + 1].argmin())
    return Verdict(
        Status.BREACH,
        reason=f"the loss jumped to {peak:.4g} at step {int(step[at])}{factor}",
        onset=int(step[at]),
        value=peak,
        best=int(step[low]),
        best_value=float(value[low]),
        severity=Severity.INFO if 0 < peak < CLEAR * usual else Severity.WARNING,
        advice="spike",
    )

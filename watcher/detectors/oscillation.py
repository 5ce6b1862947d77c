"""Oscillation: the loss swings about a level without getting lower. Judges the newest points.

The newest points, less their trend, are taken apart by frequency. Under noise no frequency stands
out: Fisher's exact test (Proc. R. Soc. A 125, 1929) says how likely the strongest one's share is.
The level asked (``doubt``) is set for hundreds of looks at a growing curve. The swings must be
larger than the run's earlier noise, a real part of the level, short against the window (longer
ones are cycles of a schedule), and there must be no descent beneath them.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from watcher.detectors import Inputs, detector
from watcher.detectors._noise import as_scale, spread
from watcher.model import OK, UNKNOWN, Floats, Ints, Severity, Status, Verdict, WallTime
from watcher.series import Window

LONG = 48  # points: with fewer, noise alone cannot be told with certainty
FEW = 8  # points: fewer before the newest ones say nothing of an earlier noise


@dataclass(frozen=True, slots=True)
class Oscillation:
    """``points``: how many of the newest are judged, ``least``: with how few it begins.

    ``doubt``: the chance that noise looks like this, ``doubt_short`` for few points, which must
    have grown by more. ``growth``, ``growth_short``: times the noise before, in parts of the
    level; the swing must not be smaller than that noise as it was, either.
    ``part``: the least swing, to either side, as a part of the level; a curve too short to have
    had an earlier noise must swing at nearly every point instead. ``cycles``: how many times it
    must have swung. ``fall``: a descent by more than this part of the swing is one.
    """

    points: int = 96
    least: int = 12
    doubt: float = 1e-6
    doubt_short: float = 3e-4
    growth: float = 2.5
    growth_short: float = 4.0
    part: float = 0.06
    cycles: float = 4.0
    fall: float = 0.3


@detector("oscillation", Oscillation, optional=("lr",))
@np.errstate(
    over="ignore", invalid="ignore", divide="ignore"
)  # absurd scales: no finding, no noise
def detect(inputs: Inputs, params: Oscillation, now: WallTime) -> Verdict:
    """Breach while the newest points swing regularly about a level that does not fall.

    UNKNOWN when they swung like that before the newest points, too: a sawtooth that was there
    from the start is no finding, and one that was found is not over.
    """
    if inputs.run.need_not_fall:
        return OK
    window = inputs["value"]
    if len(window) < params.least:
        return UNKNOWN
    step, value = window.finite_tail
    if len(value) < params.least:
        return UNKNOWN
    n = min(params.points, max(params.least, len(value) // 2))
    earlier = value[:-n]
    if len(earlier) < FEW:
        earlier, n = value[:0], len(value)
    recent = value[-n:]
    scaled, logs = as_scale(recent)
    flat = _about_line(scaled)
    if logs and math.sqrt(2 * float(flat @ flat) / n) < 0.999 * params.part / 3:
        return OK  # even if all of it were one swing; the common case, and cheap
    power = _power(flat)
    swing, share, period = _strongest(power, n)
    if not _stands_out(scaled, swing, share, float(np.ptp(value)) if not logs else 1.0, params):
        return OK
    first = len(earlier) == 0  # too short to have had an earlier noise
    if first and not _alternates(scaled):
        return OK
    if n < params.cycles * period or _descends(scaled, swing, params):
        return OK
    growth = params.growth if n >= LONG else params.growth_short
    if not first and not _beyond_wander(power, n, earlier, logs, params):
        return OK
    if not first and (
        swing < growth * _earlier(earlier, logs)
        or (logs and swing * float(recent.mean()) < _earlier(earlier, False))
    ):
        return UNKNOWN  # it swung like this before, too: nothing new, and nothing over
    if _follows(inputs.get("lr"), int(step[-n])):
        return OK
    if period < 3:  # between two frequencies of few points: counted rather than resolved
        period = _turns(recent)
    return _finding(window, step, value, recent, period)


@functools.lru_cache(maxsize=512)
def _places(n: int) -> tuple[Floats, float]:
    """Return ``n`` places about 0, and their square."""
    at: Floats = np.arange(n, dtype=np.float64) - (n - 1) / 2
    return at, float(at @ at)


def _about_line(value: Floats) -> Floats:
    """Return the values less their trend."""
    at, square = _places(len(value))
    slope = float(at @ value) / square
    flat: Floats = value - float(value.sum()) / len(value) - slope * at
    return flat


def _power(flat: Floats) -> Floats:
    """Return the power of each frequency above 0."""
    power: Floats = np.abs(np.fft.rfft(flat))[1:] ** 2
    if len(flat) % 2 == 0:
        power[-1] /= 2
    return power


def _strongest(power: Floats, n: int) -> tuple[float, float, float]:
    """Return amplitude, share of the power, and period in points, of the strongest swing."""
    total = float(power.sum())
    top = int(power.argmax())
    near = float(power[max(0, top - 1) : top + 2].sum())  # a line between two frequencies
    share = near / total if total > 0 else 0.0
    return math.sqrt(2 * near) / n * math.sqrt(2), share, n / (top + 1)


def _descends(value: Floats, swing: float, params: Oscillation) -> bool:
    """Whether the level beneath the swings still falls, from the middle third to the last."""
    third = len(value) // 3
    return float(value[-2 * third : -third].mean() - value[-third:].mean()) > params.fall * swing


def _chance(share: float, n: int) -> float:
    """Return how likely noise gives one frequency such a share of the power."""
    m = (n - 1) // 2
    return m * max(0.0, 1.0 - share) ** max(1, m - 3)


def _alternates(value: Floats) -> bool:
    """Whether nearly every point turns back: up, down, up, down, by steps of like size."""
    change = np.diff(value)
    turns = np.count_nonzero(change[1:] * change[:-1] < 0)
    size = np.abs(change)
    return bool(turns >= 0.85 * (len(change) - 1) and np.median(size) > 0.4 * size.max())


def _stands_out(
    value: Floats, swing: float, share: float, level: float, params: Oscillation
) -> bool:
    """Whether the swings are a real part of the level and no noise; few points may doubt more."""
    doubt = params.doubt if len(value) >= LONG else params.doubt_short
    return _chance(share, len(value)) <= doubt and swing >= params.part / 3 * level


def _beyond_wander(
    power: Floats, n: int, earlier: Floats, logs: bool, params: Oscillation
) -> bool:
    """Whether the swings still stand out if the earlier noise wandered, and goes on to do so.

    Noise that resembles its neighbours (an average that is logged, a data set in its order) has
    most of its power in slow swings. Divided by the spectrum of such noise (autoregressive of
    order 1, as in Mann and Lees, Climatic Change 33, 1996) it is white again.
    """
    like = _likeness(np.log(earlier) if logs and float(earlier.min()) > 0 else earlier)
    white = power * (1 + like**2 - 2 * like * np.cos(2 * np.pi * np.arange(1, len(power) + 1) / n))
    _, share, _ = _strongest(white, n)
    return _chance(share, n) <= (params.doubt if n >= LONG else params.doubt_short)


def _likeness(value: Floats) -> float:
    """Return the correlation of neighbours, from how much faster values part over two points."""
    if len(value) < FEW:
        return 0.0
    one, two = np.diff(value), value[2:] - value[:-2]
    parted = float(one @ one) / len(one)
    if not parted > 0:
        return 0.0
    return min(max(float(two @ two) / len(two) / parted - 1, 0.0), 0.95)


def _earlier(value: Floats, logs: bool) -> float:
    """Return the noise of the first half before the newest points."""
    logs = logs and float(value.min()) > 0
    scaled = np.log(value) if logs else value
    third = scaled[: max(8, len(scaled) // 2)]
    return max(spread(third), 1e-12)


def _follows(lr: Window | None, since: int) -> bool:
    """Whether the learning rate itself swings since then, however often it is logged."""
    if lr is None or len(lr) < 8:
        return False
    at, rate = lr.finite_curve
    turns = np.diff(np.sign(np.diff(rate[int(np.searchsorted(at, since)) :])))
    return int(np.count_nonzero(turns)) >= 3


def _finding(window: Window, step: Ints, value: Floats, recent: Floats, period: float) -> Verdict:
    ordered = np.sort(recent)
    high, low = _quantile(ordered, 0.9), _quantile(ordered, 0.1)
    onset = int(step[_began(value, (high - low) / 2, len(recent), period)])
    best = window.extremes
    return Verdict(
        Status.BREACH,
        reason=(
            f"the loss swings between {low:.4g} and {high:.4g} every {period:.1f} points "
            f"since about step {onset}, without getting lower"
        ),
        onset=onset,
        value=window.last_value,
        best=best.low_step,
        best_value=best.low,
        severity=Severity.WARNING,
        advice="oscillation",
    )


def _began(value: Floats, swing: float, n: int, period: float) -> int:
    """Return the index where the swings began, found in steps of a period and more.

    Back from the newest points as long as the curve swings about its own line, or forward to
    where it first does.
    """
    block = max(4, math.ceil(period) + 1)
    at = len(value) - n
    if n >= 2 * block:  # where swings have only begun, most of the newest points are calm still
        swing = max(swing, float(_ranges(value[-2 * block :], block).min()) / 2)
    calm = np.flatnonzero(~(_ranges(value[at % block : at], block) > swing))
    back = at // block - int(calm[-1]) - 1 if len(calm) else at // block
    if back:
        return at - back * block
    ahead = -(-max(0, n - 2 * block) // block)  # blocks that another two would follow
    wild = np.flatnonzero(~(_ranges(value[at : at + ahead * block], block) <= swing))
    return at + block * (int(wild[0]) if len(wild) else ahead)


def _ranges(value: Floats, block: int) -> Floats:
    """Return the range of each block of values about the line through it."""
    at, square = _places(block)
    blocks = value.reshape(-1, block)
    flat = blocks - np.outer(blocks @ at / square, at)
    ranges: Floats = flat.max(axis=1) - flat.min(axis=1)
    return ranges


def _quantile(ordered: Floats, part: float) -> float:
    """Return a quantile between the two nearest of sorted values; ``np.quantile`` costs more."""
    place = part * (len(ordered) - 1)
    below = int(place)
    return float(np.interp(place, (below, below + 1), ordered[below : below + 2]))


def _turns(value: Floats) -> float:
    """Return the period in points, counted by how often the values turn."""
    change = np.diff(value)
    turns = int(np.count_nonzero(change[1:] * change[:-1] < 0))
    return 2 * (len(value) - 1) / (turns + 1)

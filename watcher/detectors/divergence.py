"""Divergence: the loss left its best and stays up. Judges the whole curve, smoothed.

The curve is smoothed by a moving mean and its newest value is compared with its lowest. A rise
counts if it is beyond what noise does to the difference of two such means (``factor`` standard
errors: the minimum is chosen by looking, and the curve is looked at again and again, which
together are worth about four), if it is a real part of the level, if the newest points lie above
the best one by one, and if the curve had come down before it went up. How large a part of the
level is asked depends on what is known of the learning rate, whose rises lift a healthy loss. Of a
short curve, which knows little of its noise, validation that rose as well is believed sooner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from watcher.detectors import Inputs, detector
from watcher.detectors._metric import metric_of
from watcher.detectors._noise import SHORT, came_back, median, spread, times
from watcher.detectors._trend import after_last, climbed, trend, warming_up
from watcher.model import OK, UNKNOWN, Floats, Ints, Severity, Status, Verdict, WallTime
from watcher.series import Window

FEW = 12  # points: fewer have no noise to speak of, only a shape
NOTHING = 1e-5  # of the first loss: what lies below has been learned to the last digit
FAR = 10.0  # times its first value: no start of a training goes there and comes back
TWICE, LEARNED = 2.0, 0.2  # of its first value: three points above that, after a fall by this
USUAL = 2.0  # standard errors by which any mean may lie above the lowest of many
CALM = 8  # points before the rise from which on they alone say what noise there was
AGREED = 0.5  # of the factor, where validation rose as well, or all that was learned is lost
BACK, NEAR = 8, 0.1  # points that are so near to its start: what was learned is lost
GAINS = 3  # evaluations of a metric, each better than all before, which excuse a rise ...
HEAVIER = 1.5  # times a weight at the best: since then the loss is another one
KNOWN, AS_MANY, LEAST_AFTER = 6, 3, 2  # evaluations before a rise, of a level, and after it
FELL, LITTLE = 4.0, 0.05  # noises that validation fell by; a part of that fall, or of its level
EXCUSED = 3.0  # ... to less than so many times the best
CLEAN = 0.05  # of a rise: the most that so short a curve may have stepped up before it
HALF, MOST = 0.5, 0.5  # of the rise, and of the run: since there it has been up
LONG = 64  # points: more are judged as batches; a spike may last some of them


@dataclass(frozen=True, slots=True)
class Divergence:
    """``factor``: standard errors of noise, ``few / n`` times more of them where it is taken from
    ``n`` points, and so known the less well. ``least``: points before anything is said.

    ``part``: the least rise, as a part of the level, where the learning rate is known and did not
    rise; ``part_blind`` where it is not logged (cycles and restarts lift a loss by up to a third);
    ``part_kept`` all the same if it has stayed up for most of the run;
    ``part_raised`` where it rose since the best point. ``descent``: how much of the rise must have
    been a fall before, so that the bump of a warm-up is none; a loss that more than doubles is
    one all the same. ``again``: times the largest rise that the curve came back from before, and
    times as long as the longest one since its best: swings of a long period are none.
    """

    factor: float = 6.0
    few: float = 8.0
    least: int = 6
    part: float = 0.12
    part_blind: float = 0.35
    part_kept: float = 0.2
    part_raised: float = 1.0
    descent: float = 0.25
    again: float = 2.0


@detector("divergence", Divergence, optional=("val", "metric", "lr", "grad_norm", "weight"))
@np.errstate(
    over="ignore", invalid="ignore", divide="ignore"
)  # absurd scales: no finding, no noise
def detect(inputs: Inputs, params: Divergence, now: WallTime) -> Verdict:
    """Breach when the smoothed loss is surely above its best and stays there.

    OK once it is back; UNKNOWN while it is up, but not surely, or for a reason. Where the
    ``weight`` of a part of it (a variational beta) grew since the best, it is another loss: only
    what is above where it began is told.

    The onset is where it began to rise, the best step that of validation's minimum before it if
    validation is logged, else of the loss's own.
    """
    if inputs.run.need_not_fall:
        return OK
    step, value = inputs["value"].finite_curve
    n = len(value)
    if n < params.least:
        return UNKNOWN
    width = max(1, n // 40)
    calm = _without_dips(value) if n >= SHORT else value
    smooth = _means(calm, width)
    if not (math.isfinite(smooth.sum()) or np.isfinite(smooth).all()):
        return UNKNOWN  # sums beyond what a float can hold
    low = int(smooth.argmin())
    base, rise = float(smooth[low]), float(smooth[-1] - smooth[low])
    level = _level(value, base)
    if rise <= params.part * level:  # the common case, and cheap
        return OK if rise <= params.part * level / 2 else UNKNOWN
    if 0 <= smooth[-1] <= NOTHING * value[0]:
        return OK
    if inputs.run.parts and low <= n // 8:
        return OK  # a part that grows from the first is meant to: its weight does
    if n < FEW and warming_up(inputs.get("lr")):
        return UNKNOWN  # it has hardly begun
    heavier = climbed(inputs.get("weight"), int(step[low]), HEAVIER)
    if heavier and base > 0 and float(smooth[-1]) < median(value[: max(1, min(low, 5))]):
        return UNKNOWN
    curve = _Risen(value, smooth, width, low, base, rise, level)
    part, back = _part_asked(inputs.get("lr"), int(step[low]), curve, params)
    found, error = _how_sure(inputs, step, curve, part, params, back=back)
    if found is not Status.BREACH:
        return OK if found is Status.OK else UNKNOWN
    near = min(0.1 * rise, 2 * error + 0.02 * level)
    return _finding(inputs, step, value, smooth, width, near)


@dataclass(frozen=True, slots=True)
class _Risen:
    """A curve above its best. ``smooth`` is its means over ``width`` points, ``low`` where they
    are lowest, ``base`` how low; by ``rise`` it has risen since, ``level`` is what that is a part
    of.
    """

    value: Floats
    smooth: Floats
    width: int
    low: int
    base: float
    rise: float
    level: float

    @property
    def up(self) -> npt.NDArray[np.bool_]:
        """Where, since the best, it is clearly above it."""
        return self.smooth[self.low :] > self.base + 0.35 * self.rise

    def came_down(self, part: float) -> bool:
        """Whether it fell by that part of the rise before, or rose so far that it is all one."""
        start = median(self.value[: max(1, min(self.low, self.width, 5))])
        fell = start - self.base >= part * self.rise
        return fell or self.rise >= max(self.level, abs(start))


def _part_asked(
    lr: Window | None, since: int, curve: _Risen, params: Divergence
) -> tuple[float, bool]:
    """Return how large a part of the level the rise must be, and whether all is lost that a rate
    which rose had won.
    """
    value, short = curve.value, len(curve.value) < SHORT
    part = _part_by_rate(lr, since, params)
    back = not short and part == params.part_raised and _back_at_start(curve)
    if back:
        part = params.part_blind
    if len(value) >= LONG and part == params.part_blind and _kept_up(curve):
        part = params.part_kept
    # of a handful of points, whatever the learning rate did, only what anyone sees
    return (max(part, params.part_blind) if short else part), back


def _how_sure(
    inputs: Inputs, step: Ints, curve: _Risen, part: float, params: Divergence, *, back: bool
) -> tuple[Status, float]:
    """Say whether the rise is surely more than noise and swings; and the error of its ends.

    UNKNOWN where it is up, so that what was said stays said.
    """
    value, low, rise, n = curve.value, curve.low, curve.rise, len(curve.value)
    val, up, short = inputs.get("val"), curve.up, n < SHORT
    left = int(step[min(low + after_last(~up), n - 1)])
    agrees = n < LONG and _validation_agrees(val, left, part)
    lost = short and _all_is_lost(value, val)
    if short and _doubtful(value, low, rise, agrees=agrees, lost=lost):
        return Status.UNKNOWN, 0.0
    before = value[: low + 1] if low + 1 >= CALM else value
    factor = params.factor * (1 + params.few / len(before) if n >= FEW else 1)
    factor *= AGREED if agrees or back else 1.0
    of_means = math.sqrt(2 / curve.width)
    error = _noise(value, before, curve.base, agrees=agrees) * of_means
    asked = max(part * curve.level, 0.0 if lost else factor * error)
    if rise <= USUAL * _least_noise(value, before, curve.base) * of_means:
        return Status.OK, error
    stays = max(curve.width, 2 if short else 3 if n < LONG else 6)
    lowest = float(value[-stays:].min())
    excused = (
        rise <= asked
        or lowest <= curve.base + min(0.35 * rise, asked)
        or rise <= params.again * came_back(curve.smooth[: low + 1])
        or not _longest_yet(up, params.again)
        or not curve.came_down(params.descent)
        or (curve.smooth[-1] < EXCUSED * curve.base and _metric_gains(inputs, left))
    )
    return (Status.UNKNOWN if excused else Status.BREACH), error


def _means(value: Floats, width: int) -> Floats:
    """Return the mean of each ``width`` values in a row."""
    if width == 1:
        return value
    largest = max(float(value.max()), -float(value.min()))
    if largest > 1e9 * float(np.abs(value[-width:]).max()):
        exact: Floats = sliding_window_view(value, width).mean(axis=1)
        return exact  # a running sum would lose them
    total = np.zeros(len(value) + 1)
    value.cumsum(out=total[1:])
    means: Floats = (total[width:] - total[:-width]) / width
    return means


def _without_dips(value: Floats) -> Floats:
    """Return the median of each point and its neighbours: a lone low point is no best."""
    left, here, right = value[:-2], value[1:-1], value[2:]
    calm = value.copy()
    np.maximum(np.minimum(left, here), np.minimum(np.maximum(left, here), right), out=calm[1:-1])
    return calm


def _noise(value: Floats, before: Floats, base: float, *, agrees: bool) -> float:
    """Return the noise of single points, from those before the rise.

    A positive loss is also looked at by its logarithm, in which an explosion is no noise and a
    steep descent is less steep: all of it may show more noise than few points before did, or,
    where validation agrees, less.
    """
    noise = spread(before)
    if float(value.min()) <= 0:
        return noise
    if agrees and len(before) < len(value):
        return min(noise, base * spread(np.log(before)))
    return max(noise, min(spread(value), base * spread(np.log(value))))


def _least_noise(value: Floats, before: Floats, base: float) -> float:
    """Return the noise of single points about the best level, however wild it is further up."""
    noise = spread(before)
    return min(noise, base * spread(np.log(value))) if float(value.min()) > 0 else noise


def _doubtful(value: Floats, low: int, rise: float, *, agrees: bool, lost: bool) -> bool:
    """Whether a short curve rose by less than one step of its descent, or of a dozen points rose
    otherwise than in a turn without a step back.
    """
    change = np.diff(value)
    if low and not agrees and rise <= -float(change[:low].min()):
        parts = np.diff(np.log(value)) if float(value.min()) > 0 else None
        if parts is None or float(parts[low:].sum()) <= -float(parts[:low].min()):
            return True
    before = float(change[:low].max()) if low else 0.0
    clean = float(change[-3:].min()) > 0 and before <= CLEAN * rise
    return len(value) < FEW and not lost and not clean


def _back_at_start(curve: _Risen) -> bool:
    """Whether a curve that had learned is where it began, for an eighth of the run at least."""
    value, low = curve.value, curve.low
    rest = value[-max(BACK, len(value) // 8) :]
    start = median(value[: max(1, min(low, 5))])
    learned = curve.base < (1 - LEARNED) * start
    return learned and len(value) - low > len(rest) and median(rest) > (1 - NEAR) * start


def _metric_gains(inputs: Inputs, since: int) -> bool:
    """Whether the validation metric became better since the loss went up than it ever was before.

    A part of a loss whose weight or targets grow as the model gets better does not diverge.
    """
    metric = metric_of(inputs)
    if metric is None:
        return False
    step, value = metric
    at = int(np.searchsorted(step, since))
    return len(value) >= at + GAINS > GAINS and float(value[-GAINS:].min()) > float(
        value[:at].max()
    )


def _kept_up(curve: _Risen) -> bool:
    """Whether it has been up for most of the run, and is not on its way down: no cycle of a
    learning rate, and no restart, lasts as long.
    """
    value, smooth, low = curve.value, curve.smooth, curve.low
    up = low + int(np.argmax(smooth[low:] > smooth[low] + HALF * curve.rise))
    return len(value) - up > MOST * len(value) and not trend(value[up:]).likely_falls()


def _all_is_lost(value: Floats, val: Window | None) -> bool:
    """Whether a short curve is above where it began, surely.

    Far above; or at twice that for three points, which do not fall, after it had come down; or
    validation is above its start as well.
    """
    first, late = abs(float(value[0])), value[-3:]
    if float(late[1:].min()) > FAR * first:
        return True
    learned = float(value.min()) < (1 - LEARNED) * first
    if learned and float(late.min()) > TWICE * first and late[-1] > (1 - LEARNED) * late[0]:
        return True
    if val is None or float(late.min()) <= first:
        return False
    _, said = val.finite_curve
    return len(said) >= 4 and float(said[-2:].min()) > abs(float(said[0]))


def _validation_agrees(val: Window | None, since: int, part: float) -> bool:
    """Whether each evaluation from there on, two at least, is that part above the best before."""
    if val is None or len(val) < 4:
        return False
    step, value = val.finite_curve
    at = int(np.searchsorted(step, since))
    if at < 1 or len(value) < at + 2:
        return False
    best = float(value[:at].min())
    return best > 0 and float(value[at:].min()) > (1 + part) * best


def _longest_yet(up: npt.NDArray[np.bool_], again: float) -> bool:
    """Whether the curve has been up longer, by a factor, than each time it came down again."""
    turns = np.flatnonzero(up[1:] != up[:-1]) + 1
    lasted = np.diff(np.concatenate((turns, [len(up)])))[::-2]  # of the times that it was up
    return len(lasted) < 2 or bool(lasted[0] > again * lasted[1:].max())


def _level(value: Floats, base: float) -> float:
    """Return what a rise is a part of: the best level, below zero the range covered."""
    return base if float(value.min()) > 0 else float(np.ptp(value[: max(2, len(value) // 2)]))


def _part_by_rate(lr: Window | None, since: int, params: Divergence) -> float:
    """Return how large a part of the level a rise must be, by what the learning rate did."""
    if lr is None or len(lr) < 4:
        return params.part_blind
    curve = lr.curve
    at = min(int(np.searchsorted(curve.step, since, side="right")), len(curve.mean) - 1)
    then, after = float(curve.mean[max(0, at - 1)]), curve.mean[at:]
    raised = float(np.nanmax(after)) > 1.2 * then if len(after) else False
    return params.part_raised if raised else params.part


def _finding(
    inputs: Inputs, step: Ints, value: Floats, smooth: Floats, width: int, near: float
) -> Verdict:
    """Say what was found; the best is the lowest point itself, which no curve that grows moves,
    unless it lies alone: then it is the lowest where the means are lowest.
    """
    low = int(smooth.argmin())
    left = np.flatnonzero(smooth[low:] <= smooth[low] + near)
    began = min(low + int(left[-1]) + width, len(step) - 1) if width > 1 else low + int(left[-1])
    onset, base = int(step[began]), float(smooth[low])
    until = int(step[began + 1]) - 1 if began + 1 < len(step) else onset  # the entry's last step
    lowest = value[low : low + width]
    fallen = int(step[low + int(lowest.argmin())]), float(lowest.min())
    ends = inputs["value"].extremes
    at = int(np.searchsorted(step, ends.low_step, side="right")) - 1
    if ends.low_step <= until and smooth[max(0, at + 1 - width) : at + 1].min() <= base + near:
        fallen = ends.low_step, ends.low
    val = inputs.get("val")
    of_val = _best_until(val, until) if val is not None else None
    best, best_value = of_val or fallen
    also = f"; validation was lowest, {best_value:.4g}, at step {best}" if of_val else ""
    now = float(smooth[-1])
    factor = f", {times(now / base)} times as high" if base > 0 else ""
    blown = now > float(value[0])
    severity = Severity.CRITICAL if blown else Severity.WARNING
    if _validation_stays(inputs, onset):  # so far: it may be of averaged weights
        severity = Severity.WARNING if blown else Severity.INFO
        also += "; validation did not follow: is the loss another one since?"
    return Verdict(
        Status.BREACH,
        reason=f"the loss rose from {base:.4g} near step {fallen[0]} to {now:.4g}{factor}, "
        f"and stays up{also}",
        onset=onset,
        value=now,
        best=best,
        best_value=best_value,
        severity=severity,
        advice="divergence",
    )


def _validation_stays(inputs: Inputs, since: int) -> bool:
    """Whether all that is known of validation had got better, and is now as good as it was then.

    A stage that adds a term to the loss, or makes the data harder, lifts the loss of training.
    """
    val, metric = inputs.get("val"), metric_of(inputs)
    known = [val.finite_curve] if val is not None else []
    known += [(metric[0], -metric[1])] if metric is not None else []
    return bool(known) and all(_stays(*curve, since) for curve in known)


def _stays(step: Ints, value: Floats, since: int) -> bool:
    """Whether a curve that is to fall had done so surely, and since then has not risen by more
    than its noise.
    """
    at = int(np.searchsorted(step, since, side="right"))
    before, after = value[:at], value[at:]
    if len(before) < KNOWN or len(after) < LEAST_AFTER:
        return False
    noise = spread(before)
    best = median(before[-AS_MANY:])
    gained = median(before[:AS_MANY]) - best
    worse = max(USUAL * noise, LITTLE * gained)
    return gained > FELL * max(noise, LITTLE * abs(best)) and (
        median(after[-AS_MANY:]) <= best + worse / math.sqrt(AS_MANY)
    )


def _best_until(window: Window, step: int) -> tuple[int, float] | None:
    """Return step and value of the lowest point up to that step, None if there is none.

    Exact where no later point is lower, else as fine as the curve is held.
    """
    low = window.extremes
    if math.isfinite(low.low) and low.low_step <= step:
        return low.low_step, low.low
    steps, value = window.finite_curve
    seen = value[: int(np.searchsorted(steps, step, side="right"))]
    return (int(steps[int(seen.argmin())]), float(seen.min())) if len(seen) else None

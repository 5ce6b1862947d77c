"""Overfitting: validation loss rises from its minimum while training does not. Judges the curve.

A metric that should be high, an accuracy, is judged by what it lacks: as a loss, its error.

Everything after the minimum is one sample. Where the curve is flat but for noise, the points
after its minimum are in random order, so a trend test on them alone is fair, although the minimum
was chosen by looking; where it still falls, the test errs on the quiet side. The error of the
trend comes from batch means (``_trend``), and its level is set for looks repeated as the curve
grows. Two things a trend cannot know are asked apart: that the rise is more than the curve's
earlier ups and downs, and that training (where it is logged) did not rise with it.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np

from watcher.detectors import Inputs, at_least, detector
from watcher.detectors._metric import metric_of
from watcher.detectors._noise import median, spread, times
from watcher.detectors._trend import (
    SURE,
    batches,
    climbed,
    finite,
    mean,
    opening,
    trend,
    warming_up,
)
from watcher.detectors._turn import EARLY, FEW, clean_turn, early_turn, level_of, plain_turn
from watcher.model import OK, UNKNOWN, Better, Floats, Severity, Status, Verdict, WallTime
from watcher.series import Window


@dataclass(frozen=True, slots=True)
class Overfitting:
    """``size``: the least rise, as the geometric mean of its parts of the level and the descent.

    ``clear_rise``: part of the level from which on it is a warning, below it a hint; and the least
    size that counts where training loss is level, as a rise can have other causes then. ``alone``:
    the least size where training is not known at all: a learning rate that climbs and falls again
    lifts a healthy validation loss by six parts in a hundred.
    ``least_drop``: part of its best value that a metric must have lost; between two drops of the
    learning rate a healthy accuracy gives back three parts in a hundred.
    ``part_gain``: part that the metric must have gained since, for the rise of one part of a loss
    that is logged in parts to be of no interest.
    ``patience``: evaluations after the minimum before a noisy curve is judged; ``min_rise``: part
    of the level that a smooth one must have risen by until then, ``plain_rise`` a rough one.
    """

    size: float = 0.045
    clear_rise: float = 0.05
    alone: float = 0.07
    least_drop: float = 0.03
    part_gain: float = 0.01
    patience: int = 5
    min_rise: float = 0.02
    plain_rise: float = 0.08

    def __post_init__(self) -> None:
        """Refuse what no trend can be fitted to."""
        at_least(self, "patience", 3)


class Course(enum.Enum):
    """What training loss did since validation was at its best."""

    FALLS = enum.auto()
    LEVEL = enum.auto()
    RISES = enum.auto()
    UNKNOWN = enum.auto()  # not logged, or too few points


HEAVIER = 1.5  # times a weight at the best: the loss is another one, and training shows it
CLIMBED = 1.5  # times the learning rate at the best: what rises meanwhile may come down with it
LEARNED = 0.5  # of its first loss: training that has come down so far has begun to fit
LUCK = 1.0  # spreads of single evaluations by which the surroundings of the best are low
NOISY = 4.0  # spreads of single evaluations, at least
SUDDEN, DOWN = 0.2, 8  # of the level, and evaluations that are so far off: no trend is needed
PERCENT = 20.0  # what is as high and never above 100 may be one
LEAST_DESCENT = 0.05  # of the level: what fell by less is measured as if it had fallen by this

_MEANWHILE = {
    Course.FALLS: ", while training loss went on falling",
    Course.LEVEL: ", while training loss did not rise",
    Course.RISES: "",
    Course.UNKNOWN: "",
}


@detector(
    "overfitting",
    Overfitting,
    inputs=("val",),
    optional=("train", "metric", "instead", "lr", "weight"),
)
@np.errstate(over="ignore", invalid="ignore")  # absurd scales give no finding, no noise
def detect(inputs: Inputs, params: Overfitting, now: WallTime) -> Verdict:
    """Breach when validation has surely got worse since its best and training loss has not.

    OK once it is back near its best: where it is not, that less is sure now takes back nothing.
    Onset and best are the step of the best. UNKNOWN under five evaluations, and beside a better
    series for the question (``instead``); quiet for adversarial and reinforcement runs, whose
    losses are no measure of fit.
    """
    val = inputs["val"]
    if inputs.get("instead") is not None:
        return UNKNOWN
    if inputs.run.need_not_fall:
        return OK
    if len(val) < 5:
        return UNKNOWN
    step, value = finite(val)
    if len(value) < 5:
        return UNKNOWN
    metric = inputs.better.get("val") is Better.HIGHER
    if metric:
        value = _lacking(value)
    best = int(value.argmin())
    after = len(value) - 1 - best
    train = inputs.get("train")
    trained = best > 0 or _trained(train, int(step[0]))
    if after < 2 or (len(value) <= params.patience and not trained):
        return OK
    at_best = int(step[best])
    if warming_up(inputs.get("lr")) and climbed(inputs["lr"], at_best, CLIMBED):
        return _back(value, best, params.min_rise)
    course = _course(train, at_best) if train is not None else Course.UNKNOWN
    heavier = not metric and climbed(inputs.get("weight"), at_best, HEAVIER)
    if course is Course.RISES or (heavier and not _below(train, at_best)):
        return _back(value, best, params.min_rise)
    if metric:
        drop = _drop(value, best, course, inputs["val"].extremes.high, params)
        if drop is None:
            return _back(value, best, params.min_rise)
        return _finding(inputs, drop, after, course, params)
    suffers = len(value) <= FEW and _suffers(inputs, at_best)
    rise = _rise(value, best, course, params, suffers=suffers, trained=trained)
    if rise is None:
        return _back(value, best, params.min_rise)
    if inputs.run.parts and _metric_gain(inputs, at_best) > params.part_gain:
        return OK
    # single points stand out, the last as well: what is said is what the last few have risen by
    over = max(rise, mean(value[-max(2, after // 5) :]) - float(value[best]))
    return _finding(inputs, over / max(level_of(value), 1e-300), after, course, params)


def _back(value: Floats, best: int, part: float) -> Verdict:
    """Return OK if the last of it lies above the best by no more than a small part, or than noise;
    else UNKNOWN.
    """
    above = mean(value[-max(2, (len(value) - best) // 5) :]) - _about(value, best)
    usual = above <= part * level_of(value) or above <= LUCK * spread(value)
    return OK if usual else UNKNOWN


def _about(value: Floats, best: int) -> float:
    """Return the level about the best: not by an evaluation before it that says nothing, of a
    model that had not been trained.
    """
    about = value[max(0, best - 1) : best + 2]
    return min(mean(about), mean(value[best : best + 2])) if best == 1 else mean(about)


def _lacking(value: Floats) -> Floats:
    """Return what a metric lacks of a top: 1 or 100 %, or as far above its best as it has come."""
    low, high = float(value.min()), float(value.max())
    top = 2 * high - low
    if low >= 0 and (high <= 1 or PERCENT <= high <= 100):
        top = 1.0 if high <= 1 else 100.0
    lacking: Floats = top - value
    return lacking


def _drop(
    lacking: Floats, best: int, course: Course, high: float, params: Overfitting
) -> float | None:
    """Return the part of its best that a metric has surely lost, None if it has not.

    Runs log many metrics, some over few examples: a trend that holds by itself is asked of each,
    and points enough for one.
    """
    if best + max(params.patience, FEW) >= len(lacking) or high <= 0:
        return None
    if (jump := _jump(lacking, best, high)) is not None:
        return jump / high
    rise = _rise(lacking, best, course, params)
    if rise is None or rise <= params.least_drop * high:
        return None
    return rise / high if trend(lacking[best + 1 :]).surely_rises() else None


def _jump(value: Floats, best: int, level: float) -> float | None:
    """Return how far all of the last few lie above what was usual about the best, if it is far."""
    if best < 2 or len(value) - best <= DOWN:
        return None
    # not from its best itself, which is the luckiest of many
    usual = median(value[max(0, best - 4) : best + 1])
    least = float(value[-DOWN:].min()) - usual
    if least <= SUDDEN * level or least <= NOISY * spread(value[: best + 1]):
        return None
    return mean(value[-DOWN:]) - usual


def _rise(
    value: Floats,
    best: int,
    course: Course,
    params: Overfitting,
    *,
    suffers: bool = False,
    trained: bool = False,
) -> float | None:
    """Return how far the curve has surely risen over its minimum, None if it has not.

    ``suffers``: so does the metric. ``trained``: before the minimum there was training.
    """
    if best + params.patience >= len(value):
        found = clean_turn(value, best, params.min_rise)
        if found is not None or course is not Course.FALLS:
            return found
        found = plain_turn(value, best, params.plain_rise, suffers=suffers)
        return found or (early_turn(value, best) if trained else None)
    found = _lasting(value, best, course, params)
    if found is None and course is Course.FALLS:
        found = plain_turn(value, best, params.plain_rise, suffers=False)
        found = found or _jump(value, best, level_of(value))
    return found


def _lasting(value: Floats, best: int, course: Course, params: Overfitting) -> float | None:
    """Return the rise of a curve that has points enough after its minimum for a trend."""
    since = value[best:]
    base = _about(value, best)
    rise = mean(since[-max(2, len(since) // 5) :]) - base
    if rise <= 0 or _size(value, best, base, rise) < _needed(course, best, params):
        return None
    # noise grows with a positive loss, and its logarithm keeps a single peak from ruling the line
    line = trend(np.log(since[1:]) if since[0] > 0 else since[1:])
    if best == 0 and line.rise < (math.log1p(rise / base) if base > 0 else rise) / 2:
        return None  # one jump from an odd first evaluation
    sure = line.surely_rises() or _stays_up(since[1:], base)
    if not sure and not (course is Course.FALLS and line.likely_rises()):
        return None
    return rise if rise > _earlier(value[: best + 1], len(since)) else None


def _size(value: Floats, best: int, base: float, rise: float) -> float:
    """Return how large a rise is: the geometric mean of its parts of the level and of the descent.

    A twentieth of the level is nothing to a curve that fell by nine tenths, and much to one that
    fell by a tenth; either measure alone misjudges one of them.
    """
    first = min(opening(value), best)  # an evaluation before any training says nothing
    level, descent = level_of(value), float(value[first : best + 1].max()) - base
    measure = math.sqrt(level) * math.sqrt(max(descent, LEAST_DESCENT * level))
    return rise / measure if measure > 0 else 0.0


def _needed(course: Course, best: int, params: Overfitting) -> float:
    """Return the size that a rise must have, given what training did meanwhile.

    Without a training curve, a loss that is lowest at its very first evaluation tells nothing of
    overfitting: it may never have learned.
    """
    if course is Course.FALLS:
        return params.size
    if course is Course.LEVEL:
        return max(params.size, params.clear_rise)
    if best > 0:
        return max(params.size, params.alone)
    return math.inf


def _stays_up(after: Floats, base: float) -> bool:
    """Whether the last part lies above the minimum's surroundings by more than any noise there.

    For rises that come at once and then level off, where a line fits badly. The noise is taken
    from differences of neighbours, of points and of batches, whichever says more: the surroundings
    of a minimum are low by up to three spreads of a point, which the factor allows for.
    """
    means = batches(after)
    if len(means) < 5:
        return False
    point, batch = np.diff(after), np.diff(means)
    noise = max(float(point @ point) / len(point) / 9, float(batch @ batch) / len(batch)) / 2
    gain = mean(means[-max(1, len(means) // 5) :]) - base
    return gain > SURE[len(means) - 3] * math.sqrt(1.5 * noise)


def _earlier(before: Floats, length: int) -> float:
    """Return the largest rise over a running minimum that the curve came back from before.

    Smoothed as much as the rise it is compared with, so that single points do not count; of a
    positive loss in parts of the level it rose from, since ups and downs shrink with it.
    """
    width = max(1, length // 5)
    if len(before) < 2 * width + 2:
        return 0.0
    total = np.concatenate(([0.0], np.cumsum(before)))
    smooth = (total[width:] - total[:-width]) / width
    low = np.minimum.accumulate(smooth)
    if before[-1] > 0:
        return float((smooth / low).max() - 1) * float(before[-1])
    return float((smooth - low).max())


def _trained(train: Window | None, before: int) -> bool:
    """Whether training loss had lost most of its start before that step."""
    if train is None:
        return False
    step, value = finite(train)
    at = int(np.searchsorted(step, before, side="right"))
    return at >= 5 and float(value[0]) > 0 and mean(value[at - 3 : at]) < LEARNED * float(value[0])


def _below(train: Window | None, since: int) -> bool:
    """Whether training is by now lower than it was at that very step, which no weight explains."""
    if train is None:
        return False
    step, value = finite(train)
    at = int(np.searchsorted(step, since, side="right"))
    return 0 < at < len(value) and mean(value[-3:]) < float(value[max(0, at - 2) : at + 1].min())


def _course(train: Window, since: int) -> Course:
    """Return what training loss did since a step: its last part against its level at that step."""
    step, value = finite(train)
    at = max(1, int(np.searchsorted(step, since, side="right")))  # before any training: its first
    after = value[at:]
    if len(after) < 2:
        return Course.UNKNOWN
    width = max(1, min(at, len(after) // 3))
    then, now = value[at - width : at], after[-width:]
    jump = np.diff(value[at - width :])
    noise = math.sqrt(float(jump @ jump) / len(jump) / width)
    change = mean(now) - mean(then)
    if change > noise:
        return Course.RISES
    return Course.FALLS if change < -noise else Course.LEVEL


def _finding(
    inputs: Inputs, part: float, after: int, course: Course, params: Overfitting
) -> Verdict:
    ends = inputs["val"].extremes
    metric = inputs.better.get("val") is Better.HIGHER
    best, at = (ends.high, ends.high_step) if metric else (ends.low, ends.low_step)
    clear = part >= params.clear_rise and after > params.patience
    clear |= part >= EARLY and after >= 4 and at > inputs["val"].first_step
    held = _metric_gain(inputs, at) >= (-params.least_drop if inputs.run.parts else 0.0)
    said = "the validation metric fell" if metric else "validation loss rose"
    if not metric and inputs.get("metric") is inputs["val"]:
        said = "the validation error rose"  # of a metric that should be low
    said += f" {part:.0%}" if part < 10 else f" to {times(1 + part)} times its best"
    said += f" over {after} evaluations"
    said += f" from its {'best' if metric else 'minimum'} {best:.4g} at step {at}"
    said += _MEANWHILE[course]
    said += "; the validation metric has not suffered yet" if held else ""
    return Verdict(
        Status.BREACH,
        reason=said,
        onset=at,
        value=inputs["val"].last_value,
        best=at,
        best_value=best,
        severity=Severity.WARNING if clear and not held else Severity.INFO,
        advice="overfitting",
    )


def _suffers(inputs: Inputs, since: int) -> bool:
    """Whether the validation metric is logged, and always worse than at the loss's minimum."""
    metric = metric_of(inputs)
    if metric is None:
        return False
    step, value = metric
    at = int(np.searchsorted(step, since))
    if at + 1 >= len(value) or step[at] != since:
        return False
    return bool((value[at + 1 :] < value[at]).all())


def _metric_gain(inputs: Inputs, since: int) -> float:
    """Return by which part the validation metric is better now than around the loss's minimum.

    Minus infinity if none is logged.
    """
    metric = metric_of(inputs)
    if metric is None:
        return -math.inf
    step, value = metric
    at = int(np.searchsorted(step, since))
    then, lately = value[max(0, at - 2) : at + 3], value[-5:]
    if len(then) == 0 or len(lately) == 0:
        return -math.inf
    gain, unit = mean(lately) - mean(then), abs(mean(then))
    return gain / unit if unit > 0 else math.copysign(math.inf, gain) if gain else 0.0

"""Slow learning: the loss has hardly left its start. Judges the whole curve so far.

A loss that sits at the logarithm of a small number of classes is named for what it is: the model
answers at random. One that is the same in every digit is no training at all, and a few points
show it. That a warm-up lasts is no fault, so a rising learning rate keeps it UNKNOWN, and so does
a run with so few evaluations that it has only begun.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from watcher.detectors import Inputs, at_least, detector
from watcher.detectors._chance import at_chance, named
from watcher.detectors._noise import spread
from watcher.detectors._stuck import faded, pinned, sunk
from watcher.detectors._trend import Trend, finite, mean, opening, trend, warming_up
from watcher.model import OK, UNKNOWN, Better, Floats, Severity, Status, Verdict, WallTime
from watcher.series import Window

FAR = 3.0  # times ``least``: noise of the first points is no longer the question
HALF = 0.5  # of its first points: what is left of a loss that has learned, whatever its noise
START = 3.0  # standard errors: what a first part must lie above the line by, to be a height
ROUGH = 0.05  # of the level: noise of single points from which on the first ones are doubted
GAIN = 0.1  # of what a metric was in its first quarter
SURE_OF_CHANCE = 0.9  # of ``near``: what a loss may have moved by that is said to stay at ln(k)


@dataclass(frozen=True, slots=True)
class SlowLearning:
    """``least``: a run that lost less of its first loss than this has hardly learned.

    ``due``: evaluations by which that much is due, ``due_points``: training points by which it is,
    and before them a share in proportion.
    ``patience``: points before the question is asked; ``evaluations``: validation points too,
    where there is validation; ``points``: training points that replace them; ``alone``: training
    points where there is none, or none yet. ``near``: how close to ln(k) counts as chance level,
    in parts. ``pinned``: points in a row, all the same, that suffice.
    """

    least: float = 0.075
    due: int = 50
    due_points: int = 200
    patience: int = 10
    evaluations: int = 6
    points: int = 400
    alone: int = 48
    near: float = 0.01
    pinned: int = 6

    def __post_init__(self) -> None:
        """Refuse what no trend can be fitted to."""
        at_least(self, "patience", 3)


@detector("slow_learning", SlowLearning, optional=("val", "metric", "instead", "lr", "grad_norm"))
@np.errstate(over="ignore", invalid="ignore")  # absurd scales give no finding, no noise
def detect(inputs: Inputs, params: SlowLearning, now: WallTime) -> Verdict:
    """Breach when the descent since the start is surely less than ``least``, and not speeding up.

    Losses that reach zero or below have no natural scale: UNKNOWN. With ``instead`` present
    (another rule judges that series) it is UNKNOWN. Where the ``metric`` has gained, a loss that
    has hardly fallen says little: it may have a floor, or be one part of several. A part of a loss
    is given half of ``due``. Where the ``grad_norm`` has all but vanished before the loss fell, no
    warm-up is waited for.
    """
    window = inputs["value"]
    if inputs.run.need_not_fall:
        return OK
    instead = inputs.get("instead")
    if instead is not None and len(instead) >= params.patience:
        return UNKNOWN
    if not window.extremes.low > 0:
        return OK if _came_down(window, params) else UNKNOWN
    if _start_unseen(window):
        return UNKNOWN
    if (found := faded(window, inputs.get("grad_norm"), params.least)) is not None:
        return OK if _metric_gains(inputs) else found
    if warming_up(inputs.get("lr")):
        return UNKNOWN
    val = inputs.get("val")
    if (found := pinned(window, val, params.least, params.pinned)) is not None:
        return found
    step, value = finite(window)
    if len(value) < params.patience:
        return UNKNOWN
    if (found := sunk(window, val, params.evaluations, params.near)) is not None:
        return found
    first = opening(value)
    step, value = step[first:], value[first:]
    if _far_from_start(value, params):
        return OK  # whatever the line says: the common case, and cheap
    return _by_line(inputs, int(step[0]), value, params)


def _far_from_start(value: Floats, params: SlowLearning) -> bool:
    """Whether its last part lies far below its first points, and not by their noise alone."""
    few, last = max(1, len(value) // 32), max(2, len(value) // 8)
    begun, lately = mean(value[:few]), mean(value[-last:])
    far = (1 - FAR * params.least) * begun - lately
    return far > 0 and (
        lately < HALF * begun or far > START * spread(value) * math.sqrt(1 / few + 1 / last)
    )


def _by_line(inputs: Inputs, onset: int, value: Floats, params: SlowLearning) -> Verdict:
    """Judge by the line through the curve: how much of its start it has surely lost, or not."""
    window = inputs["value"]
    value = _without_settling(value, params)
    line, noise = trend(value), spread(value)
    start = _start(value, line, noise)
    level = line.level + line.rise / 2
    val = _evaluations(inputs.get("val"))
    gone = max(len(window) / params.due_points, (len(val) if val else 0) / params.due)
    lost, due = 1 - level / start, params.least * min(1.0, gone)
    rough = noise > ROUGH * line.level
    most = (1.4 if rough else 2.0) * params.least
    doubt = line.doubt / start
    if lost - doubt > due:
        return OK
    if lost > due or lost + doubt > most or _left(value, start, params):
        return UNKNOWN
    steady = _steadier(val, line, params)
    leans = _leans(line, len(window), params) or _leans(steady, len(window), params)
    chance = None if leans or lost > 2 * params.near else _classes(steady, params)
    rose = lost < -params.near  # by now: the bump of a warm-up comes down again
    patience = params if not inputs.run.parts else replace(params, evaluations=params.due // 2)
    nothing = chance is not None or (steady.stays(params.near) and _half_over(inputs.get("lr")))
    if not _enough(val, window, patience, nothing, rough or rose):
        return UNKNOWN
    if chance is None and _metric_gains(inputs):
        return OK
    if not steady.stays(SURE_OF_CHANCE * params.near):
        chance = None  # it may yet be learning, slowly: said, but not called chance
    lasts = _enough(val, window, patience, False, rough or rose)
    return _finding(window, onset, start, level, chance, lasts=lasts)


def _came_down(window: Window, params: SlowLearning) -> bool:
    """Whether a loss that was zero once, and so has no scale, is far below its first value."""
    _, value = finite(window)
    return len(value) > 8 and 0 < mean(value[-8:]) < (1 - FAR * params.least) * float(value[0])


def _metric_gains(inputs: Inputs) -> bool:
    """Whether the validation metric is surely better than at first, and by a real part."""
    metric = inputs.get("metric")
    if metric is None or len(metric) < 4:
        return False
    _, value = finite(metric)
    if len(value) < 4:
        return False
    few = max(2, len(value) // 4)
    first, late = value[:few], value[-few:]
    if inputs.better.get("metric") is Better.HIGHER:
        return float(late.min()) > (1 + GAIN) * max(float(first.max()), 0.0)
    return float(late.max()) < (1 - GAIN) * float(first.min())


def _without_settling(value: Floats, params: SlowLearning) -> Floats:
    """Return the curve without its first eighth if it fell to ln(k) there, and stays.

    A model answers at random as soon as it has unlearned what its first weights prefer.
    """
    rest = value[len(value) // 8 :]
    if len(rest) < params.patience or not value[0] > rest[0]:
        return value
    line = trend(rest)
    near = (1 - params.least) * value[0] <= line.level
    return rest if near and _classes(line, params) is not None else value


def _start(value: Floats, line: Trend, noise: float) -> float:
    """Return where the curve began: its first points if they surely lie above the line's start.

    A few points of a noisy loss may be high by chance, and are no height that it came from.
    """
    begun, few = line.level - line.rise / 2, max(1, len(value) // 32)
    first = mean(value[:few])
    chance = noise > ROUGH * line.level and first < begun + START * noise / math.sqrt(few)
    return begun if chance else max(first, begun)


def _start_unseen(window: Window) -> bool:
    """Whether more of the training lies before the first point than was seen since."""
    return window.first_step > window.last_step - window.first_step


def _left(value: Floats, start: float, params: SlowLearning) -> bool:
    """Whether the last part lies clearly off the start: a descent, or another fault."""
    lately = mean(value[-max(2, len(value) // 8) :])
    return abs(lately / start - 1) > params.least


def _evaluations(val: Window | None) -> Window | None:
    """Return validation unless it is as rough as single batches: it says no more than they."""
    if val is None or len(val) == 0:
        return None
    _, value = finite(val)
    rough = len(value) >= 6 and spread(value) > ROUGH * abs(mean(value))
    return None if rough else val


def _enough(
    val: Window | None, window: Window, params: SlowLearning, nothing: bool, rough: bool
) -> bool:
    """Whether the run has gone on long enough; if surely ``nothing`` was learned, half as long.

    A training loss alone that is rough, or has risen, needs twice as much: what it will win is
    hidden for longer.
    """
    share = 2 if nothing else 1
    if val is None:
        return len(window) >= params.alone * (2 if rough else 1) // share
    return len(window) >= params.points // share or len(val) >= params.evaluations // share


def _half_over(lr: Window | None) -> bool:
    """Whether the learning rate has come down to half its peak: most of the run is over."""
    if lr is None or len(lr) < 2:
        return False
    return 0 <= lr.last_value <= lr.extremes.high / 2


def _steadier(val: Window | None, line: Trend, params: SlowLearning) -> Trend:
    """Return the trend of validation where there is enough of it: it is the less noisy one."""
    if val is None or len(val) < params.evaluations:
        return line
    _, value = finite(val)
    return trend(value) if len(value) >= params.evaluations else line


def _leans(line: Trend, points: int, params: SlowLearning) -> bool:
    """Whether it falls little but likely: a lean that goes on for long is learning, not chance."""
    return line.likely_falls() and -line.rise > params.near * line.level * params.patience / points


def _classes(line: Trend, params: SlowLearning) -> int | None:
    """Return k if the loss began and has stayed at ln(k), None if at no level of chance."""
    if not line.stays(2 * params.near):
        return None
    return at_chance(line.level, params.near / 2)


def _finding(
    window: Window, onset: int, start: float, level: float, classes: int | None, *, lasts: bool
) -> Verdict:
    """Say what was found: of a loss at chance a hint first, for many begin there, and a warning
    where it ``lasts``.
    """
    low = window.extremes
    lost = 1 - level / start
    moved = f"fell by {lost:.1%}" if lost > 0.0005 else "has not fallen"
    said = f"the loss {moved} over {window.count} points, {start:.4g} to {level:.4g}"
    if classes is not None:
        said += f": it stays at {named(classes)}"
    return Verdict(
        Status.BREACH,
        reason=said,
        onset=onset,
        value=level,
        best=low.low_step,
        best_value=low.low,
        severity=Severity.WARNING if classes is not None and lasts else Severity.INFO,
        advice="slow_learning" if classes is None else "slow_learning_chance",
    )

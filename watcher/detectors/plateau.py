"""Plateau: the loss has stopped improving while the schedule still runs. Judges the last third.

The part that must be flat grows with the run so far (``_settled``). What never got going is
``slow_learning``; what stuck high on both sides is ``underfitting``; what came down to a small
part of its start, or rests because the learning rate has been taken back, has converged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from watcher.detectors import Inputs, at_least, detector
from watcher.detectors._metric import metric_of
from watcher.detectors._settled import Flat, Rest, at_rest, falls_since, moves_on
from watcher.detectors._trend import after_last, annealed, finite, mean, opening, trend, warming_up
from watcher.model import OK, UNKNOWN, Severity, Status, Verdict, WallTime
from watcher.series import Window

SPARSE = 200  # points to one of the better series: with fewer of it than that, it is no help


WAITS = 2  # times the patience: what has come down but little may only have begun
LEAST, GAIN = 7, 0.05  # evaluations of a metric, and the part of it that is a real gain
STUCK = 0.75  # of the run: what has been level for so long was never anywhere else
HELD = 0.8  # of its highest: a learning rate that is not being taken back ...
COMES_DOWN = 0.02  # ... and has not fallen by this part since the loss came to rest
RAISED, CYCLES = 1.5, 3  # times the rate just before; cycles in which nothing was won
SPENT, IDLE = 2e-3, 0.5  # of its highest, and of the run: a schedule that ended far too early
FAR = 0.1  # of its level: training must go on by this much where underfitting is the other reading


@dataclass(frozen=True, slots=True)
class Plateau:
    """``part`` of the curve so far, and ``patience`` evaluations: both must be flat.

    ``margin``: an improvement over that stretch, in parts of the level, that must be ruled out.
    ``share``: of the descent before, that must be ruled out instead over two thirds of a training
    loss whose noise hides such a margin.
    ``fallen_least``: what fell by less never learned (``slow_learning``); ``fallen_most``: what
    fell by more has converged; ``stuck``: what fell by less, on both sides, is ``underfitting``.
    """

    part: float = 1 / 3
    patience: int = 8
    margin: float = 0.02
    share: float = 0.13
    fallen_least: float = 0.075
    fallen_most: float = 0.85
    stuck: float = 0.3

    def __post_init__(self) -> None:
        """Refuse what no trend can be fitted to."""
        at_least(self, "patience", 3)


@detector("plateau", Plateau, optional=("train", "instead", "lr", "metric"))
@np.errstate(over="ignore", invalid="ignore")  # absurd scales give no finding, no noise
def detect(inputs: Inputs, params: Plateau, now: WallTime) -> Verdict:
    """Breach when an improvement over the last part of the curve can be ruled out.

    UNKNOWN where it is not level but does not surely go on either, and with ``instead`` present
    (a better series for the question, which a rule of its own judges). ``train`` beside a
    validation loss tells a run that only stopped generalising (a hint) from one that is stuck
    altogether (a warning). Nothing is said while the ``metric`` goes on getting better, as with
    losses that have a floor, or follow a target that moves. Where the learning rate is not logged,
    or is being taken back already, the run may be converging as planned: a hint as well. At the
    end of its schedule nothing is said of a run, unless the schedule ended so early that most of
    the run came after it.
    """
    window = inputs["value"]
    if inputs.run.need_not_fall:
        return OK
    instead = inputs.get("instead")
    if instead is not None and len(window) < SPARSE * len(instead):
        return UNKNOWN
    if len(window) < params.patience + 2 or warming_up(inputs.get("lr")):
        return UNKNOWN
    train = inputs.get("train")
    alone = train is None or train is window
    flat = Flat(params.part, params.patience, params.margin, share=params.share if alone else 0.0)
    rest = at_rest(window, flat)
    if rest is None:
        return OK if moves_on(window, params.part) else UNKNOWN
    if rest.fallen >= params.fallen_most:
        return OK
    if annealed(inputs.get("lr")):
        spent = _spent(inputs["lr"], window, params)
        return OK if spent is None else _idle(window, rest, spent)
    if rest.fallen < params.fallen_least:
        stuck = train is not None and not alone and _never_moved(rest, window, train, params)
        return _finding(inputs, rest, learning=False, sure=False) if stuck else OK
    if _raised_lately(inputs.get("lr"), rest.since):
        return UNKNOWN  # a rate that was raised again puts off what it wins
    high = rest.fallen < params.stuck and (train is None or _fallen(train) < params.stuck)
    least = FAR if high else params.margin
    learning = train is not None and falls_since(train, rest.since, least)
    if high and not learning and (not alone or rest.entries < WAITS * params.patience):
        return OK
    if learning and (
        rest.entries < len(window) // (2 * window.curve.size) or rest.rise > params.margin / 2
    ):
        return OK  # overfitting begins like this; where it does not follow, the run stays flat
    return _by_metric(inputs, rest.since) or _finding(
        inputs, rest, learning=learning, sure=not learning
    )


def _by_metric(inputs: Inputs, since: int) -> Verdict | None:
    """Return what the validation metric says of a loss at rest: OK while it goes on getting
    better, by a real part; UNKNOWN while it was hardly evaluated since; None if it says nothing.
    """
    metric = metric_of(inputs)
    if metric is None or len(metric[0]) == 0:
        return None
    step, value = metric
    at = int(np.searchsorted(step, since, side="right"))
    after = value[max(0, at - 1) :]
    if len(step) - at < 2:
        begun, newest = inputs["value"].first_step, inputs["value"].last_step
        return UNKNOWN if newest - since < 2 * (int(step[-1]) - begun) / len(step) else None
    gain = float(after[-1] - after[0])
    if gain <= GAIN * abs(float(after[0])):
        return None
    if len(after) < LEAST:
        return OK if bool((np.diff(after) > 0).all()) else None
    line = trend(after[len(after) // 2 :])  # it may only have come to rest a little later
    real = line.rise > max(line.doubt, GAIN / 2 * abs(float(after[0])))
    return OK if real else None


def _fallen(train: Window) -> float:
    """Return the part of its start that training has lost; validation may begin much later."""
    _, value = finite(train)
    if not len(value) or float(value.min()) <= 0:
        return 1.0
    return 1 - mean(value[-max(1, len(value) // 3) :]) / float(value[opening(value)])


def _never_moved(rest: Rest, window: Window, train: Window, params: Plateau) -> bool:
    """Whether validation is where it was first evaluated, and training came to rest as well.

    What training lost before that, it lost at once: it may have learned all there is, or nothing.
    """
    if abs(rest.fallen) >= params.fallen_least or rest.entries < STUCK * _entries(window):
        return False
    if window.first_step - train.first_step > (train.last_step - train.first_step) / 8:
        return False  # it may have missed the descent
    if not params.fallen_least <= _fallen(train) < params.fallen_most:
        return False
    still = at_rest(train, Flat(STUCK, params.patience, params.margin))
    return still is not None and still.entries >= STUCK * _entries(train)


def _entries(window: Window) -> int:
    return len(finite(window)[1])


def _spent(lr: Window, window: Window, params: Plateau) -> int | None:
    """Return the step at which the learning rate was as good as zero, if most of it came after."""
    step, value = finite(lr)
    begin = after_last(value > SPENT * lr.extremes.high)
    if begin == len(step) or not lr.extremes.high > 0:
        return None
    since = int(step[begin])
    if lr.last_step - since < IDLE * (lr.last_step - lr.first_step):
        return None
    later = finite(window)[0] > since
    return since if np.count_nonzero(later) >= WAITS * params.patience else None


def _idle(window: Window, rest: Rest, since: int) -> Verdict:
    low = window.extremes
    return Verdict(
        Status.BREACH,
        reason=f"the learning rate has been as good as zero since step {since}, and the loss level"
        f" at {rest.level:.4g}: nothing is learned any more",
        onset=since,
        value=rest.level,
        best=low.low_step,
        best_value=low.low,
        severity=Severity.WARNING,
        advice="plateau_spent",
    )


def _finding(inputs: Inputs, rest: Rest, *, learning: bool, sure: bool) -> Verdict:
    low = inputs["value"].extremes
    said = f"no improvement beyond noise since step {rest.since}: level at {rest.level:.4g}"
    said += "; training loss still falls" if learning else ""
    return Verdict(
        Status.BREACH,
        reason=said,
        onset=rest.since,
        value=rest.level,
        best=low.low_step,
        best_value=low.low,
        severity=Severity.WARNING if sure and _held(inputs.get("lr"), rest) else Severity.INFO,
        advice="plateau_validation" if learning else "plateau",
    )


def _raised_lately(lr: Window | None, since: int) -> bool:
    """Whether the learning rate was raised again since a step, for the first or second time, and
    less has passed since the last time than before it.
    """
    if lr is None or len(lr) < 2:
        return False
    step, value = finite(lr)
    first = max(0, int(np.searchsorted(step, since, "right")) - 1)
    rate = value[first:]
    raised = np.flatnonzero(rate[1:] > RAISED * rate[:-1]) + 1
    if not 0 < len(raised) < CYCLES:
        return False
    last = int(step[first + int(raised[-1])])
    return int(step[-1]) - last < last - since


def _held(lr: Window | None, rest: Rest) -> bool:
    """Whether the learning rate is logged and was left as it is while the loss rests."""
    if lr is None or len(lr) < 2 or lr.last_value < HELD * lr.extremes.high:
        return False
    step, value = finite(lr)
    if not len(step):
        return False
    then = float(value[max(0, int(np.searchsorted(step, rest.since, "right")) - 1)])
    return lr.last_value >= (1 - COMES_DOWN) * then

"""Frozen: a validation metric is the same at every evaluation. Judges the whole curve.

A model that always gives the same answer scores the same each time, whatever the loss does. Two
evaluations of a model that learns differ by an example at least, so that exact equality needs no
test of noise, only evaluations enough for a small validation set. A metric that climbed to where
it rests has learned, one near its top has little to win, one that stays at zero may be of a class
that is never met, and the errors of sequences are all wrong until the loss has fallen far: all are
left alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from watcher.detectors import Inputs, at_least, detector
from watcher.detectors._settled import falls_since
from watcher.detectors._trend import after_last, alike, finite, warming_up
from watcher.model import OK, UNKNOWN, Better, Severity, Status, Verdict, WallTime
from watcher.series import Window

SAME = 1e-6  # of the value: a difference that is rounding
TOP = 0.9  # of 1, or of 100 %: above it a good model may fail on the same few examples each time
WORST = 0.95  # of all wrong: where the errors of sequences begin
SURE = 2  # times ``least``: evaluations from which on it is more than a hint
LEARNS = 0.01  # of its level: a loss that falls by more says that the model learns ...
FEW = 4  # ... which excuses so many times ``least`` evaluations
LONG = 8  # times ``least``: it would have changed sides once, if it learned anything
FIRST = 2  # evaluations that may differ: before any training, and the one after


@dataclass(frozen=True, slots=True)
class Frozen:
    """``least``: evaluations in a row, all the same, that suffice. ``part``: of all evaluations
    that they must be, where it fell to where it is; 1 for one that must never have moved.
    ``returns``: it is an agent's return, which has no top, and may be zero or below.
    """

    least: int = 6
    part: float = 0.5
    returns: bool = False

    def __post_init__(self) -> None:
        """Refuse what chance alone would meet."""
        at_least(self, "least", 3)


@detector("frozen", Frozen, optional=("val", "train", "lr"))
@np.errstate(over="ignore", invalid="ignore")  # absurd scales give no finding, no noise
def detect(inputs: Inputs, params: Frozen, now: WallTime) -> Verdict:
    """Breach while a metric, or a loss, is what it was from the first, or got worse to.

    UNKNOWN while the loss falls, of validation or else of training, for some time: of few examples
    none may have changed sides; and in a warm-up.
    """
    window = inputs["value"]
    if inputs.run.need_not_fall and not params.returns:
        return OK
    if len(window) < params.least:
        return UNKNOWN
    level, lower = window.last_value, inputs.better.get("value") is Better.LOWER
    if not alike(window.value[-params.least :], SAME):
        return OK
    if not params.returns and not level > 0:
        return OK
    step, value = finite(window)
    since = after_last(abs(value - level) > SAME * abs(level))
    same = len(value) - since
    was = value[:since]
    gained = since > FIRST and (was.max() > level if lower else was.min() < level)
    if gained or same < max(params.least, params.part * len(value)):
        return OK
    high = not (params.returns or lower) and level >= TOP * _top(level)
    if high and (level >= _top(level) or same < LONG * params.least):
        return OK
    loss = inputs.get("val") or inputs.get("train")
    worst = not params.returns and lower and WORST * _top(level) <= level <= _top(level)
    rests = since + same // 2 if worst else since  # all may be wrong until the loss is far down
    learns = loss is not None and falls_since(loss, int(step[rests]), LEARNS)
    if worst and (learns or loss is None):
        return OK
    if warming_up(inputs.get("lr")) or (learns and same < FEW * params.least):
        return UNKNOWN
    what = "episode" if params.returns else "evaluation"
    if params.returns:
        why = "nothing is learned from it"
    else:
        why = "nothing is right yet" if worst else "the model always has the same answer"
    sure = same >= SURE * params.least and not _repeated(inputs.get("val"), int(step[since]))
    return Verdict(
        Status.BREACH,
        reason=f"each {what} since step {int(step[since])} gives exactly {level:.6g}: {why}",
        onset=int(step[since]),
        value=level,
        severity=Severity.WARNING if sure and not high else Severity.INFO,
        advice="frozen",
    )


def _top(level: float) -> float:
    return 1.0 if level <= 1 else 100.0


def _repeated(val: Window | None, since: int) -> bool:
    """Whether validation loss is the same as well: one evaluation may be written many times."""
    if val is None:
        return False
    step, value = finite(val)
    rest = value[int(np.searchsorted(step, since)) :]
    return len(rest) > 1 and alike(rest, SAME)

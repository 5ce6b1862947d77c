"""Vanished: next to nothing is left of a loss, and stays so. Judges the last quarter.

No fault of the curve, but of what it measures. A loss that is exactly zero at each of many points
counts nothing any more: all labels masked, every margin met, or the answer given away in the
inputs. A generator or discriminator that has lost nearly all of its loss has no opponent left, and
the other learns nothing from it. Both are hints: a person has to look. A loss that was high, and
is zero at the next point, is more than a hint: it was not learned away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from watcher.detectors import Inputs, at_least, detector
from watcher.detectors._noise import median
from watcher.detectors._trend import after_last
from watcher.model import OK, UNKNOWN, Floats, Ints, Severity, Status, Verdict, WallTime
from watcher.series import Window

EARLY = 5  # points whose median is where it began
NOTHING = 1 / 30  # of the part that may be left
BESIDE = 0.02  # of the reconstruction: what is more still says something of the input
BLOWN = 20.0  # times the median of the first points: no height that it came from
SUDDEN = 0.25  # of where it began: what no training loses from one point to the next


@dataclass(frozen=True, slots=True)
class Vanished:
    """``part``: what may be left of the first loss; 0 for nothing at all. ``least``: points.

    ``few``: points that will do where a thirtieth of that is left: no even game goes there.
    ``against``: part of the ``opponent``'s loss that may be left instead, for twice as many: a
    game that was lost from the first has no better beginning to be compared with. ``anywhere``:
    in other trainings as well, for what is not meant to be learned away beside the ``opponent``.
    """

    part: float = 0.0
    least: int = 10
    few: int = 10
    against: float = 1 / 200
    anywhere: bool = False

    def __post_init__(self) -> None:
        """Refuse what any training that goes well would meet."""
        if not 0 <= self.part <= 0.2:
            raise ValueError(f"part must be from 0 to 0.2, found {self.part}")
        at_least(self, "least", 5)


@detector("vanished", Vanished, optional=("opponent",))
@np.errstate(over="ignore", invalid="ignore")  # absurd scales give no finding, no noise
def detect(inputs: Inputs, params: Vanished, now: WallTime) -> Verdict:
    """Breach while a loss stays at no more than ``part`` of what it began with; where something
    may be left, in adversarial trainings alone.

    The losses of reinforcement learning, which may be zero by construction, and those that go
    below zero are left alone.
    """
    window = inputs["value"]
    if len(window) < EARLY + min(params.least, params.few):
        return UNKNOWN
    if params.part > 0 and not (inputs.run.adversarial or params.anywhere):
        return OK  # what comes down by so much has learned
    if params.part == 0 and 0 < window.last_value < math.inf:
        return OK  # the common case, and cheap
    if inputs.run.reinforcement or not window.extremes.low >= 0:
        return OK
    step, value = window.finite_curve
    few = len(value) < EARLY + params.least
    if few and (params.anywhere or len(value) < EARLY + params.few):
        return UNKNOWN
    if params.anywhere:
        return _faded(step, value, inputs.get("opponent"), params)
    least = params.few if few else params.least
    began, last = median(value[:EARLY]), value[-max(least, len(value) // 4) :]
    most = params.part * began
    if params.part > 0 and (few or value[-1] > most):  # it may be gone by the second point
        began = float(value[0])
        most = params.part * NOTHING * began
    if params.part > 0:
        since = _since(value <= most, len(last))
        left, unfit = median(last), began <= 0
    else:
        left, since = float(last.max()), after_last(value > 0)
        unfit = inputs.run.parts and since == 0  # a part of a loss may not apply at all
    exact = params.part == 0
    if unfit or value[-1] > most or left > most:
        return OK if exact else _outplayed(step, value, inputs.get("opponent"), params)
    sudden = exact and since > 0 and window.curve.size == 1 and _sudden(value[:since])
    advice = "vanished_opponent" if inputs.run.adversarial else "vanished"
    said = "has been exactly 0" if exact else f"is down from {began:.3g} to {left:.2g}"
    found = _hint(f"the loss {said} since step", step, value, since, advice)
    return replace(found, severity=Severity.WARNING) if sudden else found


def _faded(step: Ints, value: Floats, beside: Window | None, params: Vanished) -> Verdict:
    """Breach if next to nothing is left of what it began with, and little beside the other."""
    least = max(params.least, len(value) // 4)
    # it may be gone within a few points, and an explosion among them is no beginning
    began = min(float(np.sort(value[:EARLY])[-2]), BLOWN * median(value[:EARLY]))
    most, left = params.part * began, median(value[-least:])
    if began <= 0 or value[-1] > most or left > min(most, BESIDE * _lately(beside)):
        return OK
    said = f"the loss is down from {began:.3g} to {left:.2g} since step"
    return _hint(said, step, value, _since(value <= most, least), "vanished")


def _outplayed(step: Ints, value: Floats, opponent: Window | None, params: Vanished) -> Verdict:
    """Breach if next to nothing is left of a loss beside its opponent's, and has been for long."""
    enough = 2 * params.few
    level = _lately(opponent, enough)
    most, last = params.against * level, max(enough, len(value) // 4)
    left = median(value[-last:])
    if len(value) < enough or level <= 0 or value[-1] > most or left > most:
        return OK
    said = f"the loss has been {left:.2g} beside its opponent's {level:.3g} since about step"
    return _hint(said, step, value, _since(value <= most, last), "vanished_opponent")


def _lately(of: Window | None, enough: int = 1) -> float:
    """Return about what a loss is lately, of its last quarter; 0 if there is not enough of it."""
    value = of.finite_curve[1] if of is not None else np.empty(0)
    return median(value[-max(enough, len(value) // 4) :]) if len(value) >= enough else 0.0


def _hint(said: str, step: Ints, value: Floats, since: int, advice: str) -> Verdict:
    return Verdict(
        Status.BREACH,
        reason=f"{said} {int(step[since])}",
        onset=int(step[since]),
        value=float(value[-1]),
        severity=Severity.INFO,
        advice=advice,
    )


def _since(gone: npt.NDArray[np.bool_], last: int) -> int:
    """Return where it began to be gone: for good, or for most of the last so many points."""
    for_good = after_last(~gone)
    begin = len(gone) - last
    return for_good if for_good <= begin else begin + int(np.argmax(gone[begin:]))


def _sudden(before: Floats) -> bool:
    """Whether a loss was still high when it became zero."""
    return median(before[-3:]) > SUDDEN * median(before[:EARLY])

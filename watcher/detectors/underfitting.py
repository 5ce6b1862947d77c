"""Underfitting: training and validation loss level off together, high. Judges the last part.

High means: little of the first loss is gone, or above the ``target`` a team sets. Flat is what
``_settled`` calls flat. No curve tells what loss the data allow (noisy labels, classes that
overlap), so without a target it is a hint, unless both rest at the level of chance. A run that
fits badly because it has only begun still improves, and is not flat; one that never moved at all
is ``slow_learning``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from watcher.detectors import Inputs, at_least, detector
from watcher.detectors._chance import both_at_chance, named
from watcher.detectors._settled import Flat, Rest, at_rest, moves_on, surely_fallen
from watcher.detectors._trend import warming_up
from watcher.model import OK, UNKNOWN, Severity, Status, Verdict, WallTime


@dataclass(frozen=True, slots=True)
class Underfitting:
    """``high``: a loss that keeps more than this part of its start is high.

    ``moved``: it must have fallen by this part at least. ``gap``: validation may lie this part
    above training and still count as together. ``target``: level that counts as high instead.
    """

    part: float = 1 / 3
    patience: int = 6
    margin: float = 0.02
    high: float = 0.7
    moved: float = 0.075
    gap: float = 0.1
    target: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no trend can be fitted to."""
        at_least(self, "patience", 3)


@detector("underfitting", Underfitting, inputs=("train", "val"), optional=("lr",))
@np.errstate(over="ignore", invalid="ignore")  # absurd scales give no finding, no noise
def detect(inputs: Inputs, params: Underfitting, now: WallTime) -> Verdict:
    """Breach when both curves are flat, near each other, and high against the start."""
    train, val = inputs["train"], inputs["val"]
    if inputs.run.need_not_fall:
        return OK
    least = params.patience + 2
    if len(train) < least or len(val) < min(4, least) or warming_up(inputs.get("lr")):
        return UNKNOWN
    flat = Flat(params.part, params.patience, params.margin)
    if params.target is None and surely_fallen(train, flat, 1 - params.high):
        return OK  # it is not high: the common case, and cheap
    rest = at_rest(train, flat)
    if rest is None:
        return OK if moves_on(train, params.part) else UNKNOWN
    if rest.fallen < params.moved or not _high(rest, params):
        return OK
    other = at_rest(val, Flat(params.part, min(4, params.patience), 1.5 * params.margin))
    if other is None or other.level - rest.level > params.gap * abs(rest.level):
        return OK
    low, chance = val.extremes, both_at_chance(rest.level, other.level)
    said = f"training loss {rest.level:.4g} and validation loss {other.level:.4g} have been"
    said += f" level since step {rest.since}, at {1 - rest.fallen:.0%} of the first loss"
    said += f" {rest.start:.4g}" + (f": {named(chance)}" if chance is not None else "")
    sure = params.target is not None or chance is not None
    return Verdict(
        Status.BREACH,
        reason=said,
        onset=rest.since,
        value=rest.level,
        best=low.low_step,
        best_value=low.low,
        severity=Severity.WARNING if sure else Severity.INFO,
        advice="underfitting" if chance is None else "slow_learning_chance",
    )


def _high(rest: Rest, params: Underfitting) -> bool:
    if params.target is not None:
        return rest.level > params.target
    return rest.fallen < 1 - params.high

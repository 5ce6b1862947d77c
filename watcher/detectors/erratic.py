"""Erratic: validation leaps about from one evaluation to the next, and training does not.

The size of a leap is the spread of the logarithm about its own course: an evaluation is then half
as much again as its neighbours, or more, and as often less. Few examples scatter a mean by a
tenth or two, and training would scatter with them if the batches were at fault; so it is the
evaluation that differs (the statistics of a normalisation, as a rule), or single examples that
rule the mean. A hint: what is learned may be sound, but no evaluation says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from watcher.detectors import Inputs, at_least, detector
from watcher.detectors._noise import median, spread
from watcher.detectors._trend import finite
from watcher.model import OK, UNKNOWN, Severity, Status, Verdict, WallTime

LEFT = 0.1  # of where it began: of less than that, a little is much
WHOLE = 2 / 3  # the newest part that is judged: the first evaluations of a training scatter


@dataclass(frozen=True, slots=True)
class Erratic:
    """``least``: evaluations. ``leaps``: spread of the logarithm. ``smoother``: how many times
    less that of training must be.
    """

    least: int = 16
    leaps: float = 0.5
    smoother: float = 3.0

    def __post_init__(self) -> None:
        """Refuse what no spread can be taken of."""
        at_least(self, "least", 8)


@detector("erratic", Erratic, inputs=("value", "train"))
@np.errstate(over="ignore", invalid="ignore")  # absurd scales give no finding, no noise
def detect(inputs: Inputs, params: Erratic, now: WallTime) -> Verdict:
    """Breach while the evaluations leap about beside a training loss that is smooth.

    OK once they leap half as far. Of losses that reach zero or below, and of parts of a loss,
    nothing is said.
    """
    window, train = inputs["value"], inputs["train"]
    if inputs.run.need_not_fall or inputs.run.parts:
        return OK
    if len(window) < params.least or len(train) < params.least:
        return UNKNOWN
    if not (window.extremes.low > 0 and train.extremes.low > 0):
        return UNKNOWN
    step, value = finite(window)
    _, fit = finite(train)
    if min(len(value), len(fit)) < params.least:
        return UNKNOWN
    late = value[-int(WHOLE * len(value)) :]
    if median(late) < LEFT * median(value[:3]):
        return OK
    leaps = spread(np.log(late))
    if leaps < params.leaps or leaps < params.smoother * spread(np.log(fit)):
        return OK if leaps < params.leaps / 2 else UNKNOWN
    low, high = np.quantile(late, (0.1, 0.9)).tolist()
    return Verdict(
        Status.BREACH,
        reason=f"validation leaps about between {low:.4g} and {high:.4g} from one evaluation to"
        " the next, while training is smooth",
        onset=int(step[0]),
        value=window.last_value,  # and no best: which evaluation is the lowest is chance
        severity=Severity.INFO,
        advice="erratic",
    )

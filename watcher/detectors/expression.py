"""Expression: what the team wrote in ``expr``. Judges the windows as they stand (a condition).

Two names for one thing: an expression that asks for ``seconds_since_last`` is judged by the clock
at every tick (``expression_timed``), any other one by the points alone. A rule's ``expr`` picks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from watcher.detectors import Inputs, detector
from watcher.expr import TRIGGER, compile_expr
from watcher.model import OK, UNKNOWN, Better, Status, Verdict, WallTime


@dataclass(frozen=True, slots=True)
class Expression:
    """``expr``: the condition, in the language of ``watcher.expr``."""

    expr: str

    def __post_init__(self) -> None:
        """Refuse what cannot be read; the error shows the place."""
        compile_expr(self.expr)


@detector("expression_timed", Expression, timed=True)
@detector("expression", Expression)
def detect(inputs: Inputs, params: Expression, now: WallTime) -> Verdict:
    """Breach while the expression is true; UNKNOWN while it is neither true nor false."""
    expression = compile_expr(params.expr)
    said = expression.decide(inputs, now)
    if said is None:
        return UNKNOWN
    if not said:
        return OK
    window = inputs[TRIGGER]
    found = window.extremes
    lower = inputs.better.get(TRIGGER, Better.LOWER) is Better.LOWER
    best = found.low if lower else found.high
    known = math.isfinite(best)
    return Verdict(
        Status.BREACH,
        reason=expression.filled(inputs, now),
        value=window.last_value,
        best=(found.low_step if lower else found.high_step) if known else None,
        best_value=best if known else None,
    )

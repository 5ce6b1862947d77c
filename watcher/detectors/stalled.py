"""Stalled: the run has stopped writing and nothing says that it is complete. Judged by the clock.

The run itself says how long a silence is usual: its median interval, and the longest pause it
came back from. Only a silence far beyond both is called a stall, so long evaluations that were
seen before, and a filesystem's or a writer's buffering, stay quiet. The test is on time alone:
looking more often cannot make it fire.

A process that ends without a word looks the same. Trainings are planned in round numbers, and
those of a sweep for as many steps: where the last step is a round one, or two neighbours stopped
there as well, the finding is a hint, and stays one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from watcher.detectors import Inputs, detector
from watcher.model import OK, UNKNOWN, Severity, Status, Verdict, WallTime

NEIGHBOURS = 2  # that stopped at the same step
_MANTISSAS = frozenset({*range(1, 10), 12, 15, 25, 75, 125})  # of a round number


@dataclass(frozen=True, slots=True)
class Stalled:
    """All durations are seconds.

    ``intervals``: how many of the run's usual intervals must pass; an evaluation or a checkpoint
    takes minutes however often a run logs, so ``many_intervals`` of them up to ``evaluation``.
    ``pauses``: how many times the longest pause so far. ``min_silence``: never sooner (a writer
    flushes every two minutes, a network filesystem's cache adds one). ``page_after``: from here
    on it is critical.
    """

    intervals: float = 4.0
    many_intervals: float = 20.0
    evaluation: float = 1200.0
    pauses: float = 2.0
    min_silence: float = 300.0
    page_after: float = 4 * 3600.0


@detector("stalled", Stalled, inputs=(), timed=True)
def detect(inputs: Inputs, params: Stalled, now: WallTime) -> Verdict:
    """Breach when the silence is far beyond the run's own pauses; the onset is the last step."""
    run = inputs.run
    if run.finished:
        return OK
    if not math.isfinite(run.interval) or not math.isfinite(run.seen_at):
        return UNKNOWN  # it never wrote twice
    silence = now - run.seen_at
    evaluation = min(run.interval * params.many_intervals, params.evaluation)
    usual = max(run.interval * params.intervals, evaluation, run.longest_pause * params.pauses)
    allowed = max(params.min_silence, usual)
    if silence <= allowed:
        return OK
    reason = (
        f"nothing was written for {_span(silence)} after step {run.last_step}; "
        f"it used to write every {_span(run.interval)}, "
        f"and never paused for more than {_span(run.longest_pause)}"
    )
    severity = Severity.CRITICAL if silence > params.page_after else Severity.WARNING
    planned = next((step for step in (run.last_step, run.last_step + 1) if _round(step)), None)
    if planned is not None:
        reason += f"; {planned} is a round number: it may just have ended"
        severity = Severity.INFO
    elif run.alike >= NEIGHBOURS and run.last_step > 0:
        reason += f"; {run.alike} neighbours stopped at this step too: it may just have ended"
        severity = Severity.INFO
    return Verdict(
        Status.BREACH,
        reason=reason,
        onset=run.last_step,
        value=silence,
        severity=severity,
        advice="stalled",
    )


def _round(step: int) -> bool:
    """Whether people plan trainings of so many steps or epochs: 30, 100, 250, 1500, 40000."""
    return step >= 10 and int(str(step).rstrip("0")) in _MANTISSAS


def _span(seconds: float) -> str:
    for name, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"

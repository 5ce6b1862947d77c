"""Does this loss show at once that nothing is learned? Shapes that need no trend and no time."""

from __future__ import annotations

import math

from watcher.detectors._chance import at_chance, both_at_chance, named
from watcher.detectors._noise import median
from watcher.detectors._trend import after_last, alike, finite, mean, trend
from watcher.model import Severity, Status, Verdict
from watcher.series import Window

FADING, FIRST = 60, 10  # points before it is asked, and those that say where it began
FADED = 0.02  # of the first gradients' norm
SUNK = 8  # points at chance level, after a fall to there
PINNED = 1e-5  # of the level: batches alone make a loss that is learned vary by more
PINNED_AT_CHANCE = 1e-4
STILL = 0.8  # of its points
LOST = 0.8  # of the level: a loss that was lower once


def faded(window: Window, norm: Window | None, least: float) -> Verdict | None:
    """Find a loss as high as it began while next to nothing is left of its gradients.

    ``least``: the part of its start by which a loss that has fallen is no such loss.
    """
    if norm is None or len(norm) < FADING or len(window) < FADING:
        return None
    (_, value), (at, size) = finite(window), finite(norm)
    if min(len(value), len(size)) < FADING:
        return None
    begun, level = mean(value[:FIRST]), mean(value[-len(value) // 4 :])
    if level < (1 - least) * begun:
        return None  # the common case, and cheap
    quarter = len(size) // 4
    first, left = median(size[:FIRST]), median(size[-quarter:])
    if left > min(FADED * first, median(size[quarter : 2 * quarter]) / 2):
        return None  # after a first shock it may have come to a level of its own
    if trend(value).likely_falls():
        return None
    low = window.extremes
    return Verdict(
        Status.BREACH,
        reason=f"the loss has not fallen, {begun:.4g} to {level:.4g}, and next to nothing is left"
        f" of its gradients: their norm went from {first:.3g} to {left:.2g}",
        onset=int(at[min(after_last(size > FADED * first), len(at) - 1)]),
        value=level,
        best=low.low_step,
        best_value=low.low,
        severity=Severity.INFO,
        advice="slow_learning_faded",
    )


def pinned(window: Window, val: Window | None, least: float, points: int) -> Verdict | None:
    """Find a loss that is the same at ``points`` points or more, as high as it began.

    Off chance level it must have been the same nearly always, for twice as many points unless
    validation is as still: losses of half precision, or of few digits, repeat themselves.
    """
    recent, level = window.value[-points:], window.last_value
    if len(recent) < points or not alike(recent, PINNED_AT_CHANCE):
        return None
    step, value = finite(window)
    if len(value) < points or level < (1 - least) * float(value[0]):
        return None  # it came down to there
    classes = at_chance(level, PINNED_AT_CHANCE)
    if classes is None and window.extremes.low < LOST * level:
        return None  # it had learned: that is another fault
    margin = PINNED if classes is None else PINNED_AT_CHANCE
    since = after_last(abs(value - level) > margin * level)
    same = len(value) - since
    if classes is None:
        if same < STILL * len(value):
            return None
        points *= 1 if _still(val) else 2
    if same < points:
        return None
    means = "nothing is learned" if classes is None else named(classes)
    return Verdict(  # any checkpoint is as good
        Status.BREACH,
        reason=f"the loss is exactly {level:.6g} at each point since step {int(step[since])}:"
        f" {means}",
        onset=int(step[since]),
        value=level,
        severity=Severity.WARNING,
        advice="slow_learning" if classes is None else "slow_learning_chance",
    )


def _still(val: Window | None) -> bool:
    """Whether validation is the same at each of four evaluations or more."""
    if val is None or len(val) < 4:
        return False
    _, value = finite(val)
    return len(value) >= 4 and alike(value, PINNED)


def sunk(window: Window, val: Window | None, evaluations: int, near: float) -> Verdict | None:
    """Find a loss that came down from a wild start to chance level, and rests there.

    Both sides must rest there, at a level that is unlikely to be met by accident: validation for
    so many ``evaluations``, and moving by less than ``near``, a part of the level.
    """
    if val is None or len(val) < evaluations:
        return None
    (step, value), (_, other) = finite(window), finite(val)
    last = max(SUNK, len(value) // 3)
    if len(value) <= last or len(other) < evaluations:
        return None
    rest, theirs = value[-last:], other[-max(evaluations, len(other) // 3) :]
    classes = both_at_chance(mean(rest), mean(theirs))
    if classes is None:
        return None
    level, line = math.log(classes), trend(rest)
    if not line.stays(near) or value[0] < level:
        return None
    since = after_last(abs(value - level) > 5 * near * level)
    low = val.extremes
    return Verdict(
        Status.BREACH,
        reason=f"the loss came down from {value[0]:.4g} to {line.level:.4g} and rests there, as"
        f" validation does: {named(classes)}",
        onset=int(step[min(since, len(step) - last)]),
        value=line.level,
        best=low.low_step,
        best_value=low.low,
        severity=Severity.WARNING,
        advice="slow_learning_chance",
    )

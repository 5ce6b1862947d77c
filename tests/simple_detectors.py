"""The simplest of detectors, for tests of what happens around them."""

from __future__ import annotations

from dataclasses import dataclass

from watcher.detectors import Inputs, detector
from watcher.model import OK, Status, Verdict, WallTime


@dataclass(frozen=True, slots=True)
class Limit:
    """``limit``: above it is too high."""

    limit: float = 5.0


@dataclass(frozen=True, slots=True)
class Quiet:
    """``min_silence``: seconds."""

    min_silence: float = 300.0


def register() -> None:
    """Make ``high`` (with ``Limit``) and ``quiet`` (with ``Quiet``) known."""

    @detector("high", Limit)
    def high(inputs: Inputs, params: Limit, now: WallTime) -> Verdict:
        window = inputs["value"]
        if window.last_value <= params.limit:
            return OK
        return Verdict(Status.BREACH, "too high", onset=window.last_step, value=window.last_value)

    @detector("quiet", Quiet, inputs=(), timed=True)
    def quiet(inputs: Inputs, params: Quiet, now: WallTime) -> Verdict:
        if inputs.run.finished or now - inputs.run.seen_at < params.min_silence:
            return OK
        return Verdict(Status.BREACH, "silent", onset=inputs.run.last_step)

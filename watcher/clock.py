"""What time is it? The only module that asks the machine."""

from __future__ import annotations

import time
from typing import Protocol

from watcher.model import WallTime

_STEP = 10.0  # seconds; what is less may be a clock that is being adjusted


class Clock(Protocol):
    """Tells wall time, and a monotonic reading for how long something took."""

    def now(self) -> WallTime:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never goes back."""


class Steps:
    """Notices that wall time was set: it then differs from what the monotonic clock says.

    A machine that was suspended looks like one whose clock was set forward.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._apart = clock.now() - clock.monotonic()

    def taken(self) -> float:
        """Return by how many seconds it was set since the last question, 0 if by next to none."""
        apart = self._clock.now() - self._clock.monotonic()
        step = apart - self._apart
        if abs(step) < _STEP:
            return 0.0
        self._apart = apart
        return step


class SystemClock:
    """The machine's clock."""

    def now(self) -> WallTime:
        """Seconds since the epoch, by the machine."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds by the machine's monotonic clock."""
        return time.monotonic()

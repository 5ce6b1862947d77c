"""A clock that tests set."""

from __future__ import annotations

from watcher.model import WallTime


class ManualClock:
    """A clock that is moved by hand."""

    def __init__(self, now: WallTime = 0.0) -> None:
        self._now = now

    def now(self) -> WallTime:
        """The time it was set to."""
        return self._now

    def monotonic(self) -> float:
        """The same reading: a manual clock never jumps by itself."""
        return self._now

    def set(self, now: WallTime) -> None:
        """Move to ``now``."""
        self._now = now

    def advance(self, seconds: float) -> WallTime:
        """Move on by ``seconds`` and return the new time."""
        self._now += seconds
        return self._now

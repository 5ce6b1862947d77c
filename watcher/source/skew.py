"""How far are the training hosts' clocks from ours? Estimated from records as they come in.

What is new at a poll should be stamped between the poll before and this one, give or take a
flush. How far outside it is stamped is a sample; the median of many is proof against a few absurd
stamps. What is ahead of us cannot be delay; what is far behind may be: logs that are copied late
look the same.
"""

from __future__ import annotations

import statistics
from collections import deque

from watcher.model import WallTime

_SAMPLES = 64
_ENOUGH = 8  # samples until anything is said
_AHEAD, _BEHIND = 60.0, 900.0  # seconds that are worth a line
ABSURD = 10 * 365 * 86400.0  # seconds; a stamp that far off is no clock
_CHANGE = 0.25  # of what was said, until it is said again


class Skew:
    """The estimate for one root."""

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=_SAMPLES)
        self._said = 0.0

    def take(self, wall_time: float, before: WallTime, now: WallTime) -> None:
        """Note the newest record of a file that grew between two polls."""
        if abs(wall_time - now) < ABSURD:  # a NaN is not
            self._samples.append(wall_time - min(max(wall_time, before), now))

    @property
    def seconds(self) -> float | None:
        """How far ahead of ours the clocks are, None while too little is known."""
        if len(self._samples) < _ENOUGH:
            return None
        return statistics.median_low(self._samples)

    def news(self) -> str | None:
        """Say how it stands if that changed, "" if the clocks agree again, else None."""
        seconds = self.seconds or 0.0
        if -_BEHIND <= seconds <= _AHEAD:
            said, self._said = self._said, 0.0
            return "" if said else None
        if self._said and abs(seconds - self._said) <= _CHANGE * abs(self._said):
            return None
        self._said = seconds
        return words(seconds)


def words(seconds: float) -> str:
    """Say what a skew of so many seconds means, "" if it means nothing."""
    if seconds > _AHEAD:
        return f"records are stamped about {seconds:.0f} s ahead of this clock; set clocks by NTP"
    if seconds < -_BEHIND:
        return (
            f"records are stamped about {-seconds:.0f} s before they arrive: clocks are behind, "
            "or logs are copied late"
        )
    return ""

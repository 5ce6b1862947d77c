"""How fast may messages follow one another? Slack asks for one a second in each channel."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pace:
    """A token bucket for each lane: ``burst`` at once, then one each ``interval`` seconds.

    New messages are the lane that counts (Slack allows one a second). Edits are counted apart by
    Slack, and here too: no alert waits for an edit.
    """

    def __init__(
        self,
        interval: float = 1.0,
        burst: int = 3,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval, self._slack = interval, interval * (burst - 1)
        self._clock, self._sleep = clock, sleep
        self._next: dict[str, float] = {}
        self._lock = threading.Lock()

    def wait(self, lane: str = "") -> None:
        """Return when the next message of a lane may be sent."""
        with self._lock:
            now = self._clock()
            due = max(self._next.get(lane, now - self._slack), now - self._slack)
            pause, self._next[lane] = due - now, due + self._interval
        if pause > 0:
            self._sleep(pause)

    def pause(self, lane: str = "") -> float:
        """Return for how many seconds ``wait`` would wait now."""
        with self._lock:
            return max(0.0, self._next.get(lane, 0.0) - self._clock())

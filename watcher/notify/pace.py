"""How fast may messages follow one another? Slack asks for one a second in each channel."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pace:
    """A token bucket: ``burst`` at once, then one each ``interval`` seconds (Slack allows one)."""

    def __init__(
        self,
        interval: float = 1.0,
        burst: int = 3,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval, self._slack = interval, interval * (burst - 1)
        self._clock, self._sleep = clock, sleep
        self._next = -float("inf")
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return when the next message may be sent."""
        with self._lock:
            now = self._clock()
            self._next = max(self._next, now - self._slack)
            pause, self._next = self._next - now, self._next + self._interval
        if pause > 0:
            self._sleep(pause)

"""How much was done so far? Counts that the engine keeps for the operator's monitoring.

Written by the thread that does the work, read by any other: each value is right by itself, and
two of them may be a moment apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from watcher.model import Poll, Transition

Step = tuple[str, str, bool]  # rule, the state it came to, whether the rule is only tried out


@dataclass(slots=True)
class RootTally:
    """The looks at one root. Moments are monotonic seconds."""

    polls: int = 0
    poll_seconds: float = 0.0
    last_poll_seconds: float = 0.0
    polled_at: float | None = None
    points: int = 0

    def polled(self, poll: Poll, began: float, now: float) -> None:
        """Count a look that came back; points that were read before do not count again."""
        self.polls += 1
        self.last_poll_seconds = now - began
        self.poll_seconds += self.last_poll_seconds
        self.polled_at = now
        self.points += sum(len(batch.points) - batch.retained for batch in poll.batches)


@dataclass(slots=True)
class Tally:
    """The ticks, and what came of them."""

    ticks: int = 0
    tick_seconds: float = 0.0
    uncommitted: int = 0  # ticks that the state database did not take
    transitions: Counter[Step] = field(default_factory=Counter)

    def ticked(self, seconds: float) -> None:
        """Count a tick, its commit included."""
        self.ticks += 1
        self.tick_seconds += seconds

    def took(self, transitions: Iterable[Transition]) -> None:
        """Count changes of state; an alert that only became louder has not changed its state."""
        for one in transitions:
            if not one.escalated:
                alert = one.alert
                self.transitions[alert.slot.rule, alert.state.value, alert.shadow] += 1

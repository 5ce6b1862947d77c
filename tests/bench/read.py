"""What a comparison of readers drives: ``read(tree)`` once, ``Poll(tree).poll()`` again and again.

Both return the number of points. The reader's own cost is measured, without frames.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from watcher.source.logdir import ONE_SHOT, Logdir, SourceOptions


def read(tree: str) -> int:
    """Read everything once, a run directory at a time, and count the points."""
    found = Logdir([tree], ONE_SHOT).files(time.time())
    return sum(len(news.points) for _, files, _ in found for news in files.values())


class Poll:
    """Polls as the service does, with attempts settled and batches given out."""

    def __init__(self, tree: str) -> None:
        everything = 1 << 62
        options = SourceOptions(directories_per_poll=everything, points_per_poll=everything)
        self._logdir = Logdir([tree], options)

    def poll(self) -> int:
        """Return how many new points came."""
        batches = self._logdir.poll(time.time()).batches
        return sum(len(batch.points) - batch.retained for batch in batches)


if __name__ == "__main__":
    for tree in sys.argv[1:]:
        begun = time.perf_counter()
        count = read(tree)
        took = time.perf_counter() - begun
        print(f"{tree}: {count:,} points in {took:.3f} s, {count / took / 1e6:.2f} M/s")

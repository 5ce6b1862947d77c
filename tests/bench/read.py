"""What a comparison of readers drives: ``read(tree)`` once, ``Poll(tree).poll()`` again and again.

Both return the number of points. The reader's own cost is measured, without frames.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from watcher.source import scan
from watcher.source.logdir import ONE_SHOT, Logdir, SourceOptions


def read(tree: str) -> int:
    """Read everything once, a run directory at a time, and count the points."""
    found = Logdir([tree], ONE_SHOT).files(time.time())
    return sum(len(news.points) for _, files, _ in found for news in files.values())


INTERVAL, HOUR = 5.0, 3600  # seconds: between two polls of the service, and before them


class Poll:
    """Polls as the service does, with attempts settled and batches given out.

    The first poll is the service's start. The others are those of a service that has been up for
    an hour in which nothing grew, one each ``INTERVAL``: what was silent for so long is asked once
    a minute, so growth of such a run comes with one of the next polls, and from then on at once.
    """

    def __init__(self, tree: str) -> None:
        everything = 1 << 62
        options = SourceOptions(directories_per_poll=everything, points_per_poll=everything)
        self._logdir = Logdir([tree], options)
        self._now = time.time()
        self._begun = False

    def poll(self) -> int:
        """Return how many new points came."""
        batches = self._logdir.poll(self._now).batches
        if not self._begun:
            self._begun = True
            for _ in range(HOUR // 30):
                self._now += 30.0
                self._logdir.poll(self._now)
        self._now += INTERVAL
        return sum(len(batch.points) - batch.retained for batch in batches)


def floor(tree: str) -> float:
    """Return the seconds of a bare C loop over the same files; needs gcc and an x86-64."""
    source = Path(__file__).with_name("floor.c")
    files = sorted(str(p) for p in Path(tree).rglob("*tfevents*") if p.is_file())
    with tempfile.TemporaryDirectory() as directory:
        program = f"{directory}/floor"
        subprocess.run(["gcc", "-O3", "-msse4.2", str(source), "-o", program], check=True)
        said = subprocess.run([program, *files], check=True, capture_output=True, text=True)
    return float(said.stdout.split()[1])


def main() -> None:
    """Read each tree several times; print the fastest, and how it stands to the floor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trees", nargs="+")
    parser.add_argument("--floor", action="store_true", help="compare with a bare C loop")
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    print(f"scanner: {scan.described()}")
    for tree in asked.trees:
        times = []
        for _ in range(asked.rounds):
            begun = time.perf_counter()
            count = read(tree)
            times.append(time.perf_counter() - begun)
        took = min(times)
        said = f"{tree}: {count:,} points in {took * 1e3:.1f} ms, {count / took / 1e6:.2f} M/s"
        if asked.floor:
            least = floor(tree)
            said += f", {took / least:.2f} times the floor of {least * 1e3:.1f} ms"
        print(said)


if __name__ == "__main__":
    main()

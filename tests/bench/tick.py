"""What does a tick cost? Idle runs, and the share that is hot; prints medians in milliseconds.

    python tests/bench/tick.py [--runs 1000] [--points 300]

Makes real event files in a temporary directory, lets the service's parts read and judge them
once, and then times whole polls with nothing new: reading, judging by the clock, queueing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.logs import T0, write_run
from watcher.pipeline import Plan, State, tick
from watcher.routing import Route, queue
from watcher.rules import default_rules
from watcher.source.logdir import Logdir


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--points", type=int, default=300)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as logs:
        loss = [2.0 * 0.99**i for i in range(wanted.points)]
        for i in range(wanted.runs):
            series = {"train/loss": loss, "val/loss": loss, "lr": [1e-3] * wanted.points}
            write_run(Path(logs) / f"team{i % 5}" / f"run{i:05d}", series, seconds=1.0)
        measure(logs, wanted.runs)


def measure(logs: str, runs: int) -> None:
    """Time the first poll and fifteen idle ones."""
    source, state, plan = Logdir([logs]), State(), Plan(default_rules())
    now = T0 + 400.0
    begin = time.perf_counter()
    tick(state, source.poll(now), plan, now)
    first = time.perf_counter() - begin
    polls, ticks, queues = [], [], []
    for _ in range(15):
        now += 5.0
        a = time.perf_counter()
        poll = source.poll(now)
        b = time.perf_counter()
        said = tick(state, poll, plan, now).transitions
        c = time.perf_counter()
        queue(said, state.alerts(), {}, (Route("console"),), now)
        d = time.perf_counter()
        polls.append(b - a), ticks.append(c - b), queues.append(d - c)
    print(f"{runs} runs, first poll and tick {first:.2f} s ({1e3 * first / runs:.1f} ms a run)")
    for name, taken in (("idle poll", polls), ("idle tick", ticks), ("queue", queues)):
        print(f"{name:<10} {1e3 * statistics.median(taken):8.2f} ms")


if __name__ == "__main__":
    main()

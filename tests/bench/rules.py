"""What does each rule cost? Prints its median time on full windows, and that of a whole scan.

    python tests/bench/rules.py [--points 700] [--logs DIRECTORY]

With ``--logs`` also times ``watcher scan DIRECTORY`` as a process of its own.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

_REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_REPO))

from watcher.detectors import Inputs, RunFacts, detectors
from watcher.rules import default_rules
from watcher.series import Window

ROUNDS = 300


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=700)
    parser.add_argument("--logs", type=Path)
    wanted = parser.parse_args()
    print(f"median cost on windows of {wanted.points} points, a new point before each look")
    for rule in default_rules():
        detector = detectors()[rule.detector]
        names = (*detector.inputs, *detector.optional)
        windows = {name: noisy(wanted.points, i) for i, name in enumerate(names)}
        facts = RunFacts(seen_at=1e3, interval=1.0, longest_pause=5.0, last_step=1, points=1)
        times = []
        for i in range(ROUNDS):
            grow(windows, wanted.points + i)
            begun = time.perf_counter()
            detector.detect(Inputs(windows, facts), rule.params, 1e3)
            times.append(time.perf_counter() - begun)
        print(f"  {rule.alert:28} {rule.detector:14} {statistics.median(times) * 1e6:8.0f} µs")
    if wanted.logs:
        begun = time.perf_counter()
        command = [sys.executable, "-m", "watcher", "scan", str(wanted.logs)]
        done = subprocess.run(command, capture_output=True, cwd=_REPO, check=False)
        took = time.perf_counter() - begun
        print(f"watcher scan: {took:.2f} s as a whole process, exit status {done.returncode}")


def noisy(points: int, seed: int) -> Window:
    """Return a window of a loss that falls, with noise."""
    step = np.arange(points, dtype=np.int64)
    value = (0.3 + np.exp(-step / 150)) * np.exp(
        np.random.default_rng(seed).normal(0, 0.03, points)
    )
    window = Window()
    window.extend(step, step.astype(float), value)
    return window


def grow(windows: dict[str, Window], at: int) -> None:
    """Add one usual point, so that nothing cached stays valid."""
    for window in windows.values():
        value = np.array([0.3 + 0.01 * (at % 3)])
        window.extend(np.array([at], np.int64), np.array([float(at)]), value)


if __name__ == "__main__":
    main()

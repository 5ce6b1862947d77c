"""What does each rule cost? Prints its median time on full windows, and that of a whole scan.

    python tests/bench/rules.py [--points 900] [--logs DIRECTORY]

With ``--logs`` also times ``watcher scan DIRECTORY`` as a process of its own.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

_REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_REPO))

from watcher.detectors import Inputs, RunFacts, detectors
from watcher.model import Floats, Rule
from watcher.rules import default_rules
from watcher.series import Window

ROUNDS = 200
FACTS = RunFacts(seen_at=1e3, interval=1.0, longest_pause=5.0, last_step=1, points=1)
Shape = Callable[[int, np.random.Generator], Floats]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=900)
    parser.add_argument("--logs", type=Path)
    wanted = parser.parse_args()
    print(f"median µs a look at windows of {wanted.points} points, a new point before each")
    print(f"{'':27}{''.join(f'{name:>12}' for name in SHAPES)}")
    for rule in default_rules():
        row = [look_cost(rule, shape, wanted.points) for shape in SHAPES.values()]
        print(f"  {rule.alert:25}{''.join(f'{cost:12.0f}' for cost in row)}")
    if wanted.logs:
        begun = time.perf_counter()
        command = [sys.executable, "-m", "watcher", "scan", str(wanted.logs)]
        done = subprocess.run(command, capture_output=True, cwd=_REPO, check=False)
        took = time.perf_counter() - begun
        print(f"watcher scan: {took:.2f} s as a whole process, exit status {done.returncode}")


def look_cost(rule: Rule, shape: Shape, points: int) -> float:
    """Return the median microseconds of one look at full windows of that shape."""
    detector = detectors()[rule.detector]
    windows, news = {}, {}
    for i, name in enumerate((*detector.inputs, *detector.optional, *rule.inputs)):
        if name in windows or name == "instead":
            continue
        value = np.full(points + ROUNDS, 1e-3)
        if name != "lr":
            value = shape(points + ROUNDS, np.random.default_rng(i))
        windows[name], news[name] = Window(), value
        step = np.arange(points, dtype=np.int64)
        windows[name].extend(step, step.astype(float), value[:points])
    inputs, times = Inputs(windows, FACTS), []
    for at in range(points, points + ROUNDS):
        for name, window in windows.items():
            step = np.array([at], np.int64)
            window.extend(step, step.astype(float), news[name][at : at + 1])
        begun = time.perf_counter()
        detector.detect(inputs, rule.params, 1e3)
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1e6


def falling(n: int, rng: np.random.Generator) -> Floats:
    """Return a loss that falls, with noise."""
    return (0.3 + np.exp(-np.arange(n) / 150)) * np.exp(rng.normal(0, 0.03, n))


def calm(n: int, rng: np.random.Generator) -> Floats:
    """Return a loss that falls, with hardly any noise."""
    return (0.3 + np.exp(-np.arange(n) / 300)) * np.exp(rng.normal(0, 0.002, n))


def rough(n: int, rng: np.random.Generator) -> Floats:
    """Return a loss that falls under heavy noise."""
    return (0.3 + np.exp(-np.arange(n) / 150)) * np.exp(rng.normal(0, 0.3, n))


def flat(n: int, rng: np.random.Generator) -> Floats:
    """Return a loss that has hardly left its start."""
    return 2.3 * np.exp(rng.normal(0, 0.01, n))


def rests(n: int, rng: np.random.Generator) -> Floats:
    """Return a loss that fell by a fifth and stays there."""
    return (1.6 + 0.4 * np.exp(-np.arange(n) / 20)) * np.exp(rng.normal(0, 0.005, n))


def rises(n: int, rng: np.random.Generator) -> Floats:
    """Return a loss that turns in the middle of the curve and rises."""
    at = np.arange(n) / n
    return (0.5 + np.abs(at - 0.4)) * np.exp(rng.normal(0, 0.01, n))


def swings(n: int, rng: np.random.Generator) -> Floats:
    """Return a loss that swings, in the later half."""
    at = np.arange(n)
    return (1 + 0.3 * np.sin(at) * (at > n / 2)) * np.exp(rng.normal(0, 0.01, n))


def jumps(n: int, rng: np.random.Generator) -> Floats:
    """Return a loss with a spike at every fiftieth point."""
    value = falling(n, rng)
    value[49::50] *= 5
    return value


SHAPES: dict[str, Shape] = {
    shape.__name__: shape for shape in (falling, calm, rough, flat, rests, rises, swings, jumps)
}


if __name__ == "__main__":
    main()

"""How well are faults found? Scores labelled curves and prints them beside other tools' figures.

    python tests/bench/detect.py [--seeds 101 102] [--tags plain mixed] [--per-kind 9]

Makes the curves in a temporary directory, asks ``a_watcher.py`` about them through the shared
scorer, on whole logs ("final") and while they grow ("live"). The scorer lies in
``WATCHER_BENCH``, by default ``shared/bench/detect`` beside the checkout.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_SHARED = _HERE.parents[2] / "shared" / "bench" / "detect"
BENCH = Path(os.environ.get("WATCHER_BENCH", _SHARED))


def main() -> None:
    """Make the curves, score them and print one table a mode."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102])
    parser.add_argument("--tags", nargs="+", default=["plain", "mixed"])
    parser.add_argument("--modes", nargs="+", default=["final", "live"])
    parser.add_argument("--per-kind", type=int, default=9)
    parser.add_argument("--detail", action="store_true", help="also print every kind's figures")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as where:
        results = []
        for seed in wanted.seeds:
            for tags in wanted.tags:
                curves = Path(where) / f"seed{seed}-{tags}"
                options = ["--seed", seed, "--tags", tags, "--per-kind", wanted.per_kind]
                run("curves.py", "--out", curves, *options)
                results += [score(curves, mode, Path(where)) for mode in wanted.modes]
        detail = ["--detail"] if wanted.detail else []
        print(run("score.py", "--report", *results, *detail))
    print(peers())


def score(curves: Path, mode: str, where: Path) -> Path:
    """Score one set of curves in one mode; return the file with the answers."""
    out = where / f"{curves.name}-{mode}.json"
    adapter = ["--adapter", _HERE / "a_watcher.py", "--name", f"watcher {curves.name}"]
    run("score.py", "--curves", curves, *adapter, "--mode", mode, "--out", out)
    return out


def run(script: str, *arguments: object) -> str:
    """Run one of the benchmark's scripts; return what it printed."""
    command = [sys.executable, str(BENCH / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{script} failed with status {done.returncode}:\n{done.stderr}")
    return done.stdout


def peers() -> str:
    """Return the other tools' first table of each mode, as they were measured."""
    results = BENCH / "RESULTS.md"
    if not results.is_file():
        return f"no figures of other tools: there is no {results}"
    shown, keep = [], False
    for line in results.read_text().splitlines():
        if line.startswith("#"):
            keep = True
        elif line.startswith("F1 (recall"):
            keep = False
        if keep:
            shown.append(line)
    return "\n".join(shown)


if __name__ == "__main__":
    main()

"""How well is overfitting found in published histories? Prints figures beside OverfitGuard's.

    python tests/bench/overfitguard.py [--curves ../shared/curves]

Each history's validation loss, alone, grows under the overfitting rule, which looks at every
checkpoint as in the service. Printed: detection (a run counts as overfit if the rule fires at
any look), the optimum named at the last breach, the delay from it to the first breach; and the
share of real runs held to be healthy in which any rule fires, through the whole pipeline.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_REPO))

from tests.logs import T0
from watcher.detectors import Inputs
from watcher.detectors.overfitting import Overfitting, detect
from watcher.model import Batch, Columns, RunKey, Status
from watcher.pipeline import Plan
from watcher.replay import findings
from watcher.rules import default_rules
from watcher.series import Window, judged_at

TAGS = {
    "train_loss": "train/loss",
    "val_loss": "val/loss",
    "minibatch_loss": "train/batch_loss",
    "grad_norm": "train/grad_norm",
    "train_acc": "train/accuracy",
    "test_acc": "val/accuracy",
}
Series = Mapping[str, tuple[list[int], list[float]]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the rule said of one history; steps, None where it never fired."""

    overfit: bool
    optimum: int | None
    fired: int | None
    first_best: int | None  # named when it first fired, as early stopping would
    best: int | None  # named at the last breach
    length: int


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=Path, default=_REPO.parent / "shared" / "curves")
    where = parser.parse_args().curves
    runs, labels = load(where)
    for dataset in ("overfitguard_real", "overfitguard_sim"):
        said = [judged(runs[key], labels[key]) for key in sorted(labels) if key[0] == dataset]
        show(dataset, said)
    published(where)
    healthy(runs, labels)


def load(where: Path) -> tuple[dict[tuple[str, str], Series], dict[tuple[str, str], list[str]]]:
    """Return the runs' series and the runs' labels with their optimal epochs."""
    runs: dict[tuple[str, str], dict[str, tuple[list[int], list[float]]]] = defaultdict(dict)
    with gzip.open(where / "curves.csv.gz", "rt") as file:
        for dataset, run, name, step, value in list(csv.reader(file))[1:]:
            steps, values = runs[dataset, run].setdefault(name, ([], []))
            steps.append(round(float(step)))
            values.append(float(value))
    with (where / "labels.csv").open() as file:
        rows = list(csv.reader(file))[1:]
    return dict(runs), {(r[0], r[1]): [r[2], r[3]] for r in rows}


def judged(series: Series, label: list[str]) -> Outcome:
    """Let the validation loss grow under the rule."""
    steps, values = (np.asarray(x) for x in series["val_loss"])
    window, at = Window(), 0
    fired = first_best = best = None
    for to in dict.fromkeys((*judged_at(0, len(values)), len(values))):
        part = slice(at, to)
        window.extend(steps[part].astype(np.int64), steps[part].astype(float), values[part])
        verdict = detect(Inputs({"val": window}), Overfitting(), 0.0)
        if verdict.status is Status.BREACH:
            if fired is None:
                fired, first_best = int(steps[to - 1]), verdict.best
            best = verdict.best
        at = to
    optimum = round(float(label[1])) if label[1] else None
    return Outcome(label[0] == "overfit", optimum, fired, first_best, best, len(values))


def show(name: str, said: list[Outcome]) -> None:
    """Print detection, optimum and delay of one set."""
    hits = sum(o.overfit and o.fired is not None for o in said)
    missed = sum(o.overfit and o.fired is None for o in said)
    false = sum(not o.overfit and o.fired is not None for o in said)
    quiet = len(said) - hits - missed - false
    macro = (f1(hits, false, missed) + f1(quiet, missed, false)) / 2
    found = [o for o in said if o.overfit and o.best is not None and o.optimum is not None]
    exact = sum(o.best == o.optimum for o in found)
    near = sum(abs((o.best or 0) - (o.optimum or 0)) <= 0.01 * o.length for o in found)
    first = sum(o.first_best == o.optimum for o in found)
    first_near = sum(abs((o.first_best or 0) - (o.optimum or 0)) <= 0.01 * o.length for o in found)
    late = [(o.fired or 0) - (o.optimum or 0) for o in found]
    delay = statistics.median(late) if late else math.nan
    print(
        f"{name}: {len(said)} runs, macro F1 {macro:.3f} (overfit {f1(hits, false, missed):.3f}; "
        f"{hits} found, {missed} missed, {false} false); optimum named at the first alarm: exact "
        f"{first}/{len(found)}, within 1 % {first_near}/{len(found)}; at the last breach: exact "
        f"{exact}/{len(found)}, within 1 % {near}/{len(found)}; median delay {delay:g} epochs, "
        f"fired before the optimum {sum(d < 0 for d in late)}"
    )


def f1(right: int, false: int, missed: int) -> float:
    """Return the harmonic mean of precision and recall."""
    return 2 * right / max(1, 2 * right + false + missed)


def published(where: Path) -> None:
    """Print OverfitGuard's own figures: macro averages, delays and what else it lists."""
    print("\npublished (task, method, setting, row, precision, recall, F1, accuracy, delay)")
    with (where / "overfitguard_published.csv").open() as file:
        for row in list(csv.reader(file))[1:]:
            if row[3] == "macro avg" or not row[0].startswith("detection"):
                print("  " + " | ".join(cell or "-" for cell in row))


def healthy(
    runs: Mapping[tuple[str, str], Series], labels: Mapping[tuple[str, str], list[str]]
) -> None:
    """Print how many runs held to be healthy get an alert, per dataset."""
    print("\nhealthy real runs with an alert")
    plan = Plan(default_rules())
    seen: dict[str, list[str]] = defaultdict(list)
    for (dataset, run), label in sorted(labels.items()):
        if label[0] == "healthy":
            alerts, _ = findings([batch_of(runs[dataset, run])], plan)
            names = sorted({a.detector for a in alerts if not a.shadow})
            seen[dataset].append(",".join(names))
            if names:
                print(f"  {dataset} {run}: {', '.join(names)}")
    for dataset, said in seen.items():
        print(f"  {dataset}: {sum(map(bool, said))} of {len(said)}")


def batch_of(series: Series) -> Batch:
    """Return one run's whole history as a poll would bring it, a second between steps."""
    rows = sorted(
        (step, t, value)
        for t, name in enumerate(series)
        for step, value in zip(*series[name], strict=True)
    )
    step, tag, value = (np.array(column) for column in zip(*rows, strict=True))
    _, order = np.unique(step, return_inverse=True)
    wall = T0 + order.astype(float)
    names = tuple(TAGS.get(name, name) for name in series)
    points = Columns(names, tag.astype(np.int32), step.astype(np.int64), wall, value.astype(float))
    return Batch(RunKey("/logs", "run"), 0, points, float(wall[-1]), float(wall[-1]))


if __name__ == "__main__":
    main()

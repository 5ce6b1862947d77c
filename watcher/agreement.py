"""Does what was found agree with what a person said? Compares alerts with a table of labels.

The table is a CSV with at least the columns ``run`` and ``label``; ``label`` may hold several,
separated by ``;``, and ``onset_step`` as many steps. A run is named by its directory relative to
the log directory that was scanned.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from watcher.errors import InvalidInput, Problem
from watcher.model import Alert, Severity
from watcher.precedence import LEARNING

HEALTHY = "healthy"
# which detectors' findings count as having found a label; a label not named here is its own
NAMES: Mapping[str, frozenset[str]] = {
    "plateau": LEARNING,
    "slow_learning": LEARNING,
    "underfitting": LEARNING,
    "loss_spike": frozenset({"spike"}),
    "divergence": frozenset({"divergence", "spike"}),
}


@dataclass(frozen=True, slots=True)
class Labelled:
    """One row: a run and what a person saw in it. No labels: nothing is known."""

    run: str
    labels: tuple[str, ...]
    onsets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """How a label fared: runs with it, runs where it was found, and the others by name.

    For ``healthy`` a run counts as found when nothing louder than a hint was said of it.
    """

    label: str
    runs: int
    agreed: int
    others: tuple[str, ...]


def read_labels(path: Path) -> list[Labelled]:
    """Read a table of labels; raise ``InvalidInput`` with the place of what is wrong."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = {"run", "label"} - set(reader.fieldnames or ())
            if missing:
                need = " and ".join(sorted(missing))
                raise InvalidInput([Problem(str(path), 1, 0, f"no column {need}; add it")])
            return [_labelled(row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidInput([Problem(str(path), 0, 0, f"cannot be read: {why}")]) from error


def _labelled(row: Mapping[str, str | None]) -> Labelled:
    labels = [part.strip() for part in (row["label"] or "").split(";")]
    onsets = [part.strip() for part in (row.get("onset_step") or "").split(";")]
    return Labelled(
        (row["run"] or "").strip("/"),
        tuple(part for part in labels if part),
        tuple(int(part) for part in onsets if part.lstrip("-").isdigit()),
    )


def concerns(alert: Alert, run: str) -> bool:
    """Whether ``alert`` is about the labelled ``run``: that run, one below it, or a part of it."""
    if alert.run == run or alert.run.startswith(f"{run}/"):
        return True
    base = "" if alert.run == "." else f"{alert.run}/"
    return any(f"{base}{tag}".startswith(f"{run}/") for tag in alert.inputs.values())


def agreement(labelled: Sequence[Labelled], alerts: Sequence[Alert]) -> list[Row]:
    """Return one row a label, in the table's order of first appearance."""
    rows: dict[str, tuple[list[str], list[str]]] = {}
    for one in labelled:
        mine = [a for a in alerts if concerns(a, one.run)]
        for label in one.labels:
            agreed, others = rows.setdefault(label, ([], []))
            (agreed if _agrees(label, one.labels, mine) else others).append(_told(one.run, mine))
    return [Row(k, len(a) + len(o), len(a), tuple(o)) for k, (a, o) in rows.items()]


def _agrees(label: str, labels: Sequence[str], alerts: Iterable[Alert]) -> bool:
    if label == HEALTHY:  # beside another label, that one's findings are expected
        meant = frozenset().union(*(_names(other) for other in labels if other != HEALTHY))
        loud = [a for a in alerts if a.severity is not Severity.INFO]
        return all(a.detector in meant for a in loud)
    return any(a.detector in _names(label) for a in alerts)


def _names(label: str) -> frozenset[str]:
    return NAMES.get(label, frozenset({label}))


def _told(run: str, alerts: Sequence[Alert]) -> str:
    said = ", ".join(sorted({f"{a.detector} {a.severity.value}" for a in alerts}))
    return f"{run} ({said or 'nothing said'})"

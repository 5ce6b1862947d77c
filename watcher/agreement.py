"""Does what was found agree with what a person said? Compares alerts with a table of labels.

The table is a CSV with at least the columns ``run`` and ``label``; ``label`` may hold several,
separated by ``;``, and ``onset_step`` as many steps. A run is named by its directory relative to
the log directory that was scanned.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from watcher.errors import InvalidInput, Problem
from watcher.model import Alert, Severity
from watcher.precedence import LEARNING

HEALTHY = "healthy"
NEAR = 0.05  # of a run's steps
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
    """One row: a run and what a person saw in it. No labels: nothing is known.

    ``onsets``: for each label the step where it began, None where that is not said.
    """

    run: str
    labels: tuple[str, ...]
    onsets: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """How a label fared: runs with it, runs where it was found, and the others by name.

    For ``healthy`` a run counts as found when nothing louder than a hint was said of it. Of those
    that agree, ``timed`` have an onset in the table, and for ``near`` of them ours is ``NEAR``.
    """

    label: str
    runs: int
    agreed: int
    others: tuple[str, ...]
    timed: int = 0
    near: int = 0


def read_labels(path: Path) -> list[Labelled]:
    """Read a table of labels; raise ``InvalidInput`` with the place of what is wrong."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
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
    steps = [part.strip() for part in (row.get("onset_step") or "").split(";")]
    onsets = [int(part) if part.lstrip("-").isdecimal() else None for part in steps]
    said = [(k, o) for k, o in itertools.zip_longest(labels, onsets[: len(labels)]) if k]
    return Labelled(
        (row["run"] or "").strip("/"), tuple(k for k, _ in said), tuple(o for _, o in said)
    )


def concerns(alert: Alert, run: str) -> bool:
    """Whether ``alert`` is about the labelled ``run``: that run, one below it, or a part of it."""
    if alert.run == run or alert.run.startswith(f"{run}/"):
        return True
    base = "" if alert.run == "." else f"{alert.run}/"
    return any(f"{base}{tag}".startswith(f"{run}/") for tag in alert.inputs.values())


def agreement(
    labelled: Sequence[Labelled], alerts: Sequence[Alert], ends: Mapping[str, int]
) -> list[Row]:
    """Return one row a label, in the table's order of first appearance.

    ``ends``: the last step of each run.
    """
    rows: dict[str, Row] = {}
    for one in labelled:
        mine = [a for a in alerts if concerns(a, one.run)]
        for label, onset in zip(one.labels, one.onsets, strict=True):
            row = rows.get(label, Row(label, 0, 0, ()))
            agrees = _agrees(label, one.labels, mine)
            timed = agrees and onset is not None and label != HEALTHY
            rows[label] = replace(
                row,
                runs=row.runs + 1,
                agreed=row.agreed + agrees,
                others=row.others if agrees else (*row.others, _told(one.run, mine)),
                timed=row.timed + timed,
                near=row.near + (timed and _is_near(label, onset or 0, mine, ends)),
            )
    return list(rows.values())


def _is_near(label: str, onset: int, alerts: Iterable[Alert], ends: Mapping[str, int]) -> bool:
    """Whether a finding of that label begins within ``NEAR`` of the run of where it should."""
    return any(
        a.onset_step is not None and abs(a.onset_step - onset) <= NEAR * ends.get(a.run, 0)
        for a in alerts
        if a.detector in _names(label)
    )


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

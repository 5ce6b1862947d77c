"""What should happen? Runs the tests a pack holds through the pipeline, and compares.

Each test is one run of its own. The clock runs along the points: the first of each series is at
minute 0 (or whatever the interval), the next one interval later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from watcher.model import Alert, Batch, Columns, Rule, RunKey, Signs, WallTime
from watcher.packtest import Expect, Expected, PackTest, points
from watcher.rules import Pack
from watcher.units import duration

EPOCH: WallTime = 1_700_000_000.0  # when every test begins
_MOMENT = 0.001  # seconds after the time that is asked for: what is written at it counts
Snapshots = Callable[
    [Sequence[Batch], Sequence[Rule], Sequence[WallTime]], list[tuple[Alert, ...]]
]


@dataclass(frozen=True, slots=True)
class Failure:
    """One expectation that was not met."""

    file: str
    line: int
    test: str
    at: str
    message: str

    def __str__(self) -> str:
        """Say where the test is, what was expected and what was seen."""
        return f"{self.file}:{self.line}: {self.test}: at {self.at}: {self.message}"


def run_tests(pack: Pack, snapshots: Snapshots | None = None) -> list[Failure]:
    """Return what the pack's tests say is wrong. ``snapshots``: the replay, unless another one."""
    if snapshots is None:
        from watcher.replay import snapshots as replayed

        snapshots = replayed
    return [
        failure
        for number, test in enumerate(pack.tests)
        for failure in _run(pack, test, pack.lines[number] if pack.lines else 0, snapshots)
    ]


def _run(pack: Pack, test: PackTest, line: int, snapshots: Snapshots) -> list[Failure]:
    batch = batch_of(test)
    timed = sorted(
        ((_when(expect, batch) + _MOMENT, expect) for expect in test.expect),
        key=lambda pair: pair[0],
    )
    seen = snapshots([batch], pack.rules, [at for at, _ in timed])
    return [
        Failure(str(pack.path), line, test.name, _at(expect), difference)
        for (_, expect), alerts in zip(timed, seen, strict=True)
        for difference in [compare(expect, alerts)]
        if difference
    ]


def batch_of(test: PackTest) -> Batch:
    """Return the points of all the test's series in the order of their times, as one batch."""
    rows: list[tuple[float, int, int, float]] = []  # time, series, step, value
    for number, (name, series) in enumerate(test.series.items()):
        for i, value in enumerate(points(series.values, name)):
            if value is not None:
                at = i * series.every
                step = test.start_step + at * test.steps_per_point
                rows.append((EPOCH + at * test.interval, number, step, value))
    rows.sort(key=lambda row: row[0])
    wall, tag, step_, value_ = zip(*rows, strict=True) if rows else ((), (), (), ())
    columns = Columns(
        tuple(test.series),
        np.array(tag, np.int32),
        np.array(step_, np.int64),
        np.array(wall, np.float64),
        np.array(value_, np.float64),
    )
    end = float(wall[-1]) if rows else EPOCH
    signs = Signs("the test says so", last=True) if test.finished else Signs()
    return Batch(RunKey("test", "run"), 0, columns, end, end, fresh=True, signs=signs)


def _when(expect: Expect, batch: Batch) -> WallTime:
    """Return the time of an expectation; that of a step is when its points were written."""
    if expect.step is not None:
        reached = batch.points.wall_time[batch.points.step <= expect.step]
        return float(reached.max()) if len(reached) else EPOCH
    if expect.at == "end" or expect.at is None:
        return batch.observed_at
    return EPOCH + duration(expect.at)


def _at(expect: Expect) -> str:
    return f"step {expect.step}" if expect.step is not None else str(expect.at)


# ------------------------------------------------------------------------- comparing


def compare(expect: Expect, alerts: Sequence[Alert]) -> str:
    """Return how ``alerts`` differ from what is expected, "" if they do not.

    Compared are the firing alerts, and those of every other state that an expectation names. Each
    of them must be expected once, and each expected one be there.
    """
    states = {"firing", *(one.state for one in expect.alerts)}
    left = [alert for alert in alerts if alert.state.value in states]
    missing: list[Expected] = []
    for wanted in sorted(expect.alerts, key=_vague):
        found = next((alert for alert in left if _fits(wanted, alert)), None)
        if found is None:
            missing.append(wanted)
        else:
            left.remove(found)
    if not missing and not left:
        return ""
    said = [f"expected {_wanted(one)}" for one in missing]
    counted = Counter(_seen(alert) for alert in left)
    said += [f"unexpected {what}{f' ({n} times)' if n > 1 else ''}" for what, n in counted.items()]
    if not left:
        others = [_seen(alert) for alert in alerts if alert.state.value not in states]
        said.append(f"saw {'; '.join(others) if others else 'none'}")
    return "; ".join(said)


def _vague(wanted: Expected) -> int:
    """Let those that say more choose first."""
    said = (wanted.onset_step, wanted.best_step, wanted.severity, wanted.detector)
    return sum(one is None for one in said)


def _fits(wanted: Expected, alert: Alert) -> bool:
    pairs = (
        (wanted.alert, alert.alert),
        (wanted.state, alert.state.value),
        (wanted.onset_step, alert.onset_step),
        (wanted.best_step, alert.best_step),
        (wanted.severity, alert.severity),
        (wanted.detector, alert.detector),
    )
    return all(want is None or want == have for want, have in pairs)


def _wanted(one: Expected) -> str:
    details = (
        ("onset step", one.onset_step),
        ("best step", one.best_step),
        ("severity", one.severity and one.severity.value),
        ("detector", one.detector),
    )
    said = [f"{name} {value}" for name, value in details if value is not None]
    extra = f" ({', '.join(said)})" if said else ""
    return f"{one.alert} {one.state}{extra}"


def _seen(alert: Alert) -> str:
    said = [alert.severity.value]
    if alert.onset_step is not None:
        said.append(f"onset step {alert.onset_step}")
    if alert.best_step is not None:
        said.append(f"best step {alert.best_step}")
    return f"{alert.alert} {alert.state.value} ({', '.join(said)}): {alert.reason}"

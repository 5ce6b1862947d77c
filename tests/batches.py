"""Builds what a poll brings out of plain lists: for tests of everything that reads no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tests.logs import T0
from watcher.model import Batch, Columns, RunKey


def columns(series: Mapping[str, Sequence[float]], first: int = 0, every: float = 60.0) -> Columns:
    """One point a step for each tag, the tags of a step in a row, ``every`` seconds apart."""
    tags = tuple(series)
    rows = [
        (t, first + i, T0 + every * (first + i), series[tag][i])
        for i in range(max(map(len, series.values()), default=0))
        for t, tag in enumerate(tags)
        if i < len(series[tag])
    ]
    tag, step, wall, value = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Columns(
        tags,
        np.array(tag, np.int32),
        np.array(step, np.int64),
        np.array(wall, float),
        np.array(value, float),
    )


def batch(
    series: Mapping[str, Sequence[float]],
    first: int = 0,
    *,
    run: str = "run",
    attempt: int = 0,
    fresh: bool = False,
    **more: Any,
) -> Batch:
    """One batch whose newest bytes arrived with its last point, unless told otherwise."""
    points = columns(series, first)
    at = float(points.wall_time[-1]) if len(points) else T0
    more = {"observed_at": at, "seen_at": at} | more
    return Batch(RunKey("/logs", run), attempt, points, fresh=fresh, **more)

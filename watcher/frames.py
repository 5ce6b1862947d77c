"""What do the curves look like as data? Frames and arrays of everything under a log directory."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from watcher.attempts import History, New, joined
from watcher.clock import SystemClock
from watcher.errors import DamageWarning
from watcher.model import Ailment, Columns, Floats, Health, Ints, no_points
from watcher.source.follow import News
from watcher.source.logdir import ONE_SHOT, Logdir

if TYPE_CHECKING:
    import pandas as pd

Superseded = Literal["drop", "keep"]
_HARMLESS = (Health.OK, Health.TRUNCATED, Health.CONCURRENT)


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One curve: ``step`` int64, ``wall_time`` and ``value`` float64, in order of recording."""

    run: str
    tag: str
    step: Ints
    wall_time: Floats
    value: Floats

    def __len__(self) -> int:
        """Count the points."""
        return len(self.step)


def read_scalars(
    logdir: str | os.PathLike[str], *, superseded: Superseded = "drop"
) -> pd.DataFrame:
    """Return every scalar point under ``logdir`` (a directory or one event file).

    Columns ``run, tag, step, wall_time, value``; ``run`` is the run directory relative to
    ``logdir``, ``.`` for itself. Rows are ordered by run, tag and order of recording.
    ``superseded="drop"`` leaves out what a resume or a new attempt took back, ``"keep"`` gives
    all that is on disk. Broken records are skipped with one ``DamageWarning`` a file; raises
    ``LogdirError`` if there is no such log directory.
    """
    import pandas as pd

    runs = [run for run in _runs(logdir, superseded) if len(run[1])]
    tags = sorted({tag for _, points in runs for tag in points.tags})
    codes = {tag: code for code, tag in enumerate(tags)}
    counts = [len(points) for _, points in runs]
    tag = [np.array([codes[t] for t in p.tags], np.int32)[p.tag] for _, p in runs]
    every = (p for _, p in runs)
    columns = Columns((), *_stacked([tag, *zip(*map(_numbers, every), strict=True)], bool(runs)))
    names = [run for run, _ in runs]
    return pd.DataFrame(
        {
            "run": _categories(np.repeat(np.arange(len(runs)), counts), names),
            "tag": _categories(columns.tag, tags),
            "step": columns.step,
            "wall_time": columns.wall_time,
            "value": columns.value,
        },
        copy=False,
    )


def _categories(codes: npt.NDArray[Any], names: list[str]) -> pd.Categorical:
    import pandas as pd

    return pd.Categorical.from_codes(codes, pd.Index(names, dtype="str"))


def read_series(
    logdir: str | os.PathLike[str], *, superseded: Superseded = "drop"
) -> Iterator[Series]:
    """Yield the curves of ``read_scalars`` one by one, as arrays, ordered by run and tag."""
    for run, points in _runs(logdir, superseded):
        cuts = np.flatnonzero(points.tag[1:] != points.tag[:-1]) + 1
        bounds = [0, *cuts.tolist(), len(points)] if len(points) else []
        for i, j in itertools.pairwise(bounds):
            part = points.take(slice(i, j))
            tag = points.tags[int(part.tag[0])]
            yield Series(run, tag, part.step, part.wall_time, part.value)


def wide(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row a run and step and one column a tag; of several values the last."""
    keys = ["run", "step", "tag"]
    last = frame.drop_duplicates(keys, keep="last").astype({"run": str, "tag": str})
    table = last.set_index(keys)["value"].unstack("tag")
    table.columns.name = None
    return table.reset_index()


def _runs(logdir: str | os.PathLike[str], superseded: Superseded) -> list[tuple[str, Columns]]:
    """Return each run directory's points, ordered by tag; runs in order. Warn of damage."""
    if superseded not in ("drop", "keep"):
        raise ValueError(f'superseded is "drop" or "keep", not {superseded!r}')
    found = []
    ailing: dict[str, list[Ailment]] = {}
    for key, news, ailments in Logdir([logdir], ONE_SHOT).files(SystemClock().now()):
        points = joined(n.points for n in news.values()) if superseded == "keep" else _last(news)
        found.append((key.run, _by_tag(points)))
        for ailment in ailments:
            ailing.setdefault(ailment.path, []).append(ailment)
    for path, said in ailing.items():
        if any(a.health not in _HARMLESS for a in said):
            text = "; ".join(a.detail for a in said)
            warnings.warn(f"{path}: {text}", DamageWarning, stacklevel=3)
    return sorted(found, key=lambda run: run[0])


def _last(news: dict[str, News]) -> Columns:
    """Return what is left of a directory when resumes and new attempts took back theirs."""
    written = [n for n in news.values() if len(n.points)]
    if len(written) == 1 and not written[0].starts:
        return written[0].points  # nothing is there to take it back
    pieces = History().update(
        {name: New(n.points, n.starts) for name, n in news.items()}, lambda _: no_points()
    )
    streams: dict[int, list[Columns]] = {}
    for piece in pieces:
        held = streams.setdefault(piece.stream, [])
        if piece.fresh:
            held.clear()
        held.append(piece.points)
    return joined(points for stream in sorted(streams) for points in streams[stream])


def _by_tag(points: Columns) -> Columns:
    """Sort by tag's name, keeping the order of recording within each."""
    order = np.argsort(np.array(points.tags, object), kind="stable") if points.tags else None
    if order is None:
        return points
    rank = np.empty(len(order), np.int16 if len(order) < 1 << 15 else np.int32)
    rank[order] = np.arange(len(order))
    return points.take(np.argsort(rank[points.tag], kind="stable"))


def _numbers(points: Columns) -> tuple[Ints, Floats, Floats]:
    return points.step, points.wall_time, points.value


def _stacked(columns: list[Any], some: bool) -> list[Any]:
    if not some:
        empty = no_points()
        return [empty.tag, *_numbers(empty)]
    return [np.concatenate(column) for column in columns]

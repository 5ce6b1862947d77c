"""What do the curves look like as data? Frames and arrays of everything under a log directory."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
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
from watcher.source.scan import grouped

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, int], None]
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
    logdir: str | os.PathLike[str],
    *,
    superseded: Superseded = "drop",
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Return every scalar point under ``logdir`` (a directory or one event file).

    Columns ``run, tag, step, wall_time, value``; ``run`` is the run directory relative to
    ``logdir``, ``.`` for itself. Rows are ordered by run, tag and order of recording.
    ``superseded="drop"`` leaves out what a resume or a new attempt took back, ``"keep"`` gives
    all that is on disk. ``progress(done, total)`` is called as run directories are read. Broken
    records are skipped with one ``DamageWarning`` a file; raises
    ``LogdirError`` if there is no such log directory.
    """
    import pandas as pd

    runs = [(run, points) for run, points in _runs(logdir, superseded, progress) if len(points)]
    tags = sorted({tag for _, points in runs for tag in points.tags})
    codes = {tag: code for code, tag in enumerate(tags)}
    count = sum(len(points) for _, points in runs)
    run_of, tag_of = np.empty(count, np.int32), np.empty(count, np.int32)
    step, wall, value = np.empty(count, np.int64), np.empty(count), np.empty(count)
    end = 0
    for number, (_, points) in enumerate(runs):
        begin, end = end, end + len(points)
        by_tag, *columns = _by_tag(points)
        run_of[begin:end] = number
        tag_of[begin:end] = np.repeat([codes[tag] for tag, _ in by_tag], [n for _, n in by_tag])
        for whole, part in zip((step, wall, value), columns, strict=True):
            whole[begin:end] = part
    return pd.DataFrame(
        {
            "run": _categories(run_of, [run for run, _ in runs]),
            "tag": _categories(tag_of, tags),
            "step": step,
            "wall_time": wall,
            "value": value,
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
        by_tag, step, wall, value = _by_tag(points)
        end = 0
        for tag, count in by_tag:
            begin, end = end, end + count
            yield Series(run, tag, step[begin:end], wall[begin:end], value[begin:end])


def wide(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row a run and step and one column a tag; of several values the last."""
    keys = ["run", "step", "tag"]
    last = frame.drop_duplicates(keys, keep="last").astype({"run": str, "tag": str})
    table = last.set_index(keys)["value"].unstack("tag")
    table.columns.name = None
    return table.reset_index()


def _runs(
    logdir: str | os.PathLike[str], superseded: Superseded, progress: Progress | None = None
) -> list[tuple[str, Columns]]:
    """Return each run directory's points as recorded; runs in order. Warn of damage."""
    if superseded not in ("drop", "keep"):
        raise ValueError(f'superseded is "drop" or "keep", not {superseded!r}')
    found = []
    ailing: dict[str, list[Ailment]] = {}
    progress = progress or (lambda done, total: None)
    for key, news, ailments in Logdir([logdir], ONE_SHOT).files(SystemClock().now(), progress):
        points = joined(n.points for n in news.values()) if superseded == "keep" else _last(news)
        found.append((key.run, points))
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


def _by_tag(points: Columns) -> tuple[list[tuple[str, int]], Ints, Floats, Floats]:
    """Order points by tag's name and then of recording; say how many points each tag has."""
    names = sorted(range(len(points.tags)), key=points.tags.__getitem__)
    rank = np.empty(len(names), np.int32)
    rank[names] = np.arange(len(names))
    ends, step, wall, value = grouped(points, rank)
    counts = np.diff(ends, prepend=0).tolist()
    by_tag = [(points.tags[i], n) for i, n in zip(names, counts, strict=True) if n]
    return by_tag, step, wall, value

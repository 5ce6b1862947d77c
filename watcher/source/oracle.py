"""What does tbparse read here? The second opinion, in our long columns: the one door to it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from watcher.errors import LogdirError
from watcher.model import Batch, Columns, Poll, RunKey

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ["run", "tag", "step", "wall_time", "value"]


def tbparse_scalars(logdir: str | os.PathLike[str]) -> pd.DataFrame:
    """Return tbparse's ``.scalars`` and the one-element numbers of its ``.tensors``.

    The columns are those of ``read_scalars(superseded="keep")``. tbparse sorts by step and keeps
    no order of recording; compare after sorting both. It reads every file as an event file, so
    ``logdir`` must hold nothing else.
    """
    import pandas as pd
    from tbparse import SummaryReader

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of pandas, about tbparse's calls
        warnings.simplefilter("ignore", FutureWarning)
        reader = SummaryReader(
            os.fspath(logdir),
            event_types={"scalars", "tensors"},
            extra_columns={"dir_name", "wall_time"},
        )
        frames = (reader.scalars, _numbers(reader.tensors))
    parts = [part for part in frames if len(part)]
    if not parts:
        return pd.DataFrame({name: [] for name in _COLUMNS})
    frame = pd.concat(parts, ignore_index=True).rename(columns={"dir_name": "run"})
    frame["run"] = frame["run"].replace("", ".")
    frame["value"] = frame["value"].astype(np.float64)
    ordered: pd.DataFrame = frame.sort_values(["run", "tag", "step"], kind="stable")
    return ordered[_COLUMNS].reset_index(drop=True)


def poll_of(logdirs: Sequence[str | os.PathLike[str]]) -> Poll:
    """Return what tbparse reads as a poll: each run directory's points, sorted by step.

    A second opinion on the values only: it knows neither attempts nor damage. Raises LogdirError
    where tbparse gives up.
    """
    batches: list[Batch] = []
    for logdir in logdirs:
        try:
            frame = tbparse_scalars(logdir)
        except Exception as error:  # tbparse raises whatever it meets
            raise LogdirError(f"{os.fspath(logdir)}: tbparse cannot read it: {error}") from error
        for run, part in frame.groupby("run", sort=True):
            batches.append(_batch(RunKey(os.fspath(logdir), str(run)), part))
    return Poll(tuple(batches))


def _batch(run: RunKey, part: pd.DataFrame) -> Batch:
    part = part.sort_values("wall_time", kind="stable")
    codes, tags = part["tag"].factorize()
    wall = part["wall_time"].to_numpy(np.float64)
    points = Columns(
        tuple(str(tag) for tag in tags),
        codes.astype(np.int32),
        part["step"].to_numpy(np.int64),
        wall,
        part["value"].to_numpy(np.float64),
    )
    return Batch(run, 0, points, observed_at=float(wall[-1]), seen_at=float(wall[-1]), fresh=True)


def _numbers(tensors: pd.DataFrame) -> pd.DataFrame:
    """Keep the rows whose value is one number."""
    if not len(tensors):
        return tensors
    values = [np.asarray(value) for value in tensors["value"]]
    single = [v.size == 1 and v.dtype.kind in "fiub" for v in values]
    numbers = tensors[single].copy()
    numbers["value"] = [
        float(v.ravel()[0]) for v in values if v.size == 1 and v.dtype.kind in "fiub"
    ]
    return numbers

"""R14: the same points as EventAccumulator and tbparse give on every sound file."""

from __future__ import annotations

import logging
import math
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from tests.source.growing import GrowingFile, scalar, tensor
from watcher import frames
from watcher.errors import DamageWarning
from watcher.source.logdir import ONE_SHOT, Logdir
from watcher.source.oracle import tbparse_scalars

# Where readers may differ, by the kind of damage, and why.
DIFFERENCES = {
    "skipped": "tensorboard stops at the first broken record for good; we go on behind it",
}

ENOUGH = 700_000  # bytes: tbparse needs a second for two megabytes, and has no other form for them


def _unsound(root: Path) -> dict[str, str]:
    """Return the run directories that hold damage, and its kind."""
    found = {}
    for key, _, ailments in Logdir([root], ONE_SHOT).files(0.0):
        for ailment in ailments:
            if ailment.skipped_bytes:
                found[key.run] = "skipped"
    return found


def _accumulated(directory: Path) -> pd.DataFrame:
    from tensorboard.backend.event_processing import event_accumulator as ea
    from tensorboard.util.tensor_util import make_ndarray

    sizes = dict.fromkeys(ea.DEFAULT_SIZE_GUIDANCE, 1) | {ea.SCALARS: 0, ea.TENSORS: 0}
    accumulator = ea.EventAccumulator(str(directory), sizes, purge_orphaned_data=False)
    accumulator.Reload()
    rows = [
        (tag, event.step, event.wall_time, event.value)
        for tag in accumulator.Tags()["scalars"]
        for event in accumulator.Scalars(tag)
    ]
    for tag in accumulator.Tags()["tensors"]:
        metadata = accumulator.summary_metadata.get(tag)
        if metadata is not None and metadata.plugin_data.plugin_name not in ("", "scalars"):
            continue
        for event in accumulator.Tensors(tag):
            array: npt.NDArray[np.generic] = np.asarray(make_ndarray(event.tensor_proto))
            if array.size == 1 and array.dtype.kind in "fiub":
                rows.append((tag, event.step, event.wall_time, float(array.ravel()[0])))
    frame = pd.DataFrame(rows, columns=["tag", "step", "wall_time", "value"])
    return frame.astype({"step": np.int64, "wall_time": np.float64, "value": np.float64})


@pytest.fixture(scope="module")
def ours(shared_dir: Path) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamageWarning)
        frame = frames.read_scalars(shared_dir / "corpus", superseded="keep")
    return frame.astype({"run": str, "tag": str})


def _same(ours: pd.DataFrame, theirs: pd.DataFrame) -> bool:
    columns = ["step", "wall_time", "value"]
    return (
        len(ours) == len(theirs)
        and list(ours["tag"]) == list(theirs["tag"])
        and all(np.array_equal(ours[c], theirs[c], equal_nan=True) for c in columns)
    )


def test_r14_every_sound_directory_reads_as_event_accumulator_does(
    shared_dir: Path, ours: pd.DataFrame
) -> None:
    logging.getLogger("tensorboard").setLevel(logging.CRITICAL)
    corpus = shared_dir / "corpus"
    unsound = _unsound(corpus)
    by_run = dict(tuple(ours.groupby("run")))
    directories = sorted({p.parent for p in corpus.rglob("*tfevents*")})
    differing = []
    for directory in directories:
        run = directory.relative_to(corpus).as_posix()
        theirs = _accumulated(directory).sort_values("tag", kind="stable")
        mine = by_run.get(run, ours.iloc[:0])
        if not _same(mine, theirs):
            differing.append(run)
    assert sorted(differing) == sorted(run for run in differing if unsound.get(run) in DIFFERENCES)
    assert len(directories) > 100


def test_r14_every_way_to_write_a_number_reads_as_event_accumulator_does(tmp_path: Path) -> None:
    file = GrowingFile(tmp_path / "run")
    # u4 and u8 are written by some, and tensorboard itself cannot read them
    kinds = ("f2", "f4", "f8", "i1", "u1", "i2", "u2", "i4", "i8", "?")
    for step in range(3):
        file.write(scalar("simple", step, [0.1, math.nan, math.inf][step], step))
        for kind in kinds:
            number = np.array(step, kind)
            file.write(tensor(f"plain/{kind}", step, number, wall=step))
            file.write(tensor(f"scalars/{kind}", step, number.reshape(1), "scalars", wall=step))
        file.write(tensor("histogram", step, np.array(1, "f4"), "histograms"))
    theirs = _accumulated(tmp_path / "run").sort_values("tag", kind="stable")
    mine = frames.read_scalars(tmp_path).astype({"run": str, "tag": str})
    assert len(theirs) == 3 * (1 + 2 * len(kinds))
    assert _same(mine.sort_values("tag", kind="stable"), theirs)


def test_r14_the_corpus_reads_as_tbparse_does(shared_dir: Path, ours: pd.DataFrame) -> None:
    logging.getLogger("tensorboard").setLevel(logging.CRITICAL)
    corpus = shared_dir / "corpus"
    unsound = _unsound(corpus)
    keys = ["run", "tag", "step", "wall_time", "value"]
    for directory in sorted(p for p in corpus.iterdir() if p.is_dir()):
        if sum(p.stat().st_size for p in directory.rglob("*")) > ENOUGH:
            continue
        theirs = tbparse_scalars(directory)
        prefix = directory.name
        mine = ours[(ours["run"] == prefix) | ours["run"].str.startswith(f"{prefix}/")].copy()
        mine["run"] = mine["run"].str.removeprefix(prefix).str.removeprefix("/").replace("", ".")
        mine = mine[~(prefix + "/" + mine["run"]).isin(unsound)]
        assert len(mine) == len(theirs), prefix
        if len(mine):
            left = mine[keys].sort_values(keys, ignore_index=True)
            right = theirs[keys].sort_values(keys, ignore_index=True)
            pd.testing.assert_frame_equal(left, right, check_dtype=False, check_exact=True)

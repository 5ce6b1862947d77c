"""Frames of a log directory."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.source.growing import GrowingFile, scalar
from watcher.errors import DamageWarning, LogdirError
from watcher.frames import read_scalars, read_series, wide


@pytest.fixture
def logdir(tmp_path: Path) -> Path:
    first = GrowingFile(tmp_path / "b", "events.out.tfevents.1.x")
    first.scalars("loss", range(5), value=1.0).scalars("acc", range(2))
    second = GrowingFile(tmp_path / "b", "events.out.tfevents.2.x")
    second.scalars("loss", range(3, 6), wall=100, value=10.0)
    GrowingFile(tmp_path).scalars("z", range(2))
    GrowingFile(tmp_path / "empty")
    return tmp_path


def test_the_frame_has_its_columns_types_and_order(logdir: Path) -> None:
    frame = read_scalars(logdir)
    assert list(frame.columns) == ["run", "tag", "step", "wall_time", "value"]
    assert isinstance(frame["run"].dtype, pd.CategoricalDtype)
    assert isinstance(frame["tag"].dtype, pd.CategoricalDtype)
    assert [str(t) for t in frame.dtypes[2:]] == ["int64", "float64", "float64"]
    assert list(zip(frame["run"], frame["tag"], frame["step"], strict=True)) == [
        (".", "z", 0),
        (".", "z", 1),
        ("b", "acc", 0),
        ("b", "acc", 1),
        *(("b", "loss", step) for step in range(6)),
    ]
    assert frame["value"].tolist()[-3:] == [13.0, 14.0, 15.0]


def test_superseded_points_are_kept_on_request(logdir: Path) -> None:
    frame = read_scalars(logdir, superseded="keep")
    loss = frame[frame["tag"] == "loss"]
    assert loss["step"].tolist() == [0, 1, 2, 3, 4, 3, 4, 5]
    with pytest.raises(ValueError, match="superseded"):
        read_scalars(logdir, superseded="maybe")  # type: ignore[arg-type]


def test_series_are_the_same_points_as_arrays(logdir: Path) -> None:
    frame = read_scalars(logdir)
    series = list(read_series(logdir))
    assert [(s.run, s.tag, len(s)) for s in series] == [
        (".", "z", 2),
        ("b", "acc", 2),
        ("b", "loss", 6),
    ]
    np.testing.assert_array_equal(np.concatenate([s.value for s in series]), frame["value"])


def test_the_wide_frame_has_a_column_a_tag_and_the_last_value_of_a_step(tmp_path: Path) -> None:
    data = [scalar("a", 1, 1.0), scalar("a", 1, 2.0), scalar("b", 2, 3.0)]
    GrowingFile(tmp_path / "r").write(*data)
    table = wide(read_scalars(tmp_path))
    assert list(table.columns) == ["run", "step", "a", "b"]
    assert table["a"].tolist()[0] == 2.0
    assert np.isnan(table["a"].tolist()[1])


def test_a_directory_without_scalars_gives_an_empty_frame(tmp_path: Path) -> None:
    frame = read_scalars(tmp_path)
    assert (len(frame), next(iter(frame.columns))) == (0, "run")
    assert list(read_series(tmp_path)) == []
    assert len(wide(frame)) == 0


def test_each_damaged_file_gives_one_warning_at_the_callers_line(tmp_path: Path) -> None:
    for name in ("a", "b"):
        file = GrowingFile(tmp_path / name).scalars("x", range(1, 9))
        file.damage(60).damage(200)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(read_scalars(tmp_path)) == 12
    assert [w.category for w in caught] == [DamageWarning, DamageWarning]
    assert caught[0].filename == __file__


def test_a_missing_log_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LogdirError, match="no such"):
        read_scalars(tmp_path / "nowhere")

"""Tests of the comparison of findings with what a person saw."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.notify.examples import an_alert
from watcher.agreement import Labelled, Row, agreement, read_labels
from watcher.errors import InvalidInput
from watcher.model import Severity

TABLE = """run,label,onset_step
a,overfitting,100
b/,overfitting; nan,;7
c,healthy,
d,,
"""


def test_a_table_is_read_as_spreadsheets_write_it(tmp_path: Path) -> None:
    for prefix in ("", "\ufeff"):
        (tmp_path / "labels.csv").write_text(prefix + TABLE, "utf-8")
        assert read_labels(tmp_path / "labels.csv") == [
            Labelled("a", ("overfitting",), (100,)),
            Labelled("b", ("overfitting", "nan"), (None, 7)),
            Labelled("c", ("healthy",), (None,)),
            Labelled("d", (), ()),
        ]


def test_a_table_without_its_columns_says_which(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("name,label\n")
    with pytest.raises(InvalidInput, match=r"labels.csv:1.*no column run"):
        read_labels(tmp_path / "labels.csv")


@pytest.mark.parametrize(("onset", "near"), [(100, 1), (149, 1), (151, 0)])
def test_a_finding_agrees_by_its_kind_and_its_onset_by_its_distance(onset: int, near: int) -> None:
    table = [Labelled("a", ("overfitting",), (100,)), Labelled("b", ("overfitting",), (5,))]
    found = [an_alert(run="a", detector="overfitting", onset_step=onset)]
    (row,) = agreement(table, found, {"a": 1000, "b": 1000})
    assert row == Row("overfitting", 2, 1, ("b (nothing said)",), 1, near)


def test_healthy_runs_agree_unless_more_than_a_hint_is_said() -> None:
    table = [Labelled(run, ("healthy",), (None,)) for run in "ab"]
    hint = an_alert(run="a", detector="plateau", severity=Severity.INFO)
    loud = an_alert(run="b", detector="plateau", severity=Severity.WARNING)
    (row,) = agreement(table, [hint, loud], {})
    assert (row.runs, row.agreed, row.others) == (2, 1, ("b (plateau warning)",))

"""Checkpoints beside event files, as the frameworks name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from watcher.source.saves import find_checkpoint


@pytest.mark.parametrize(
    ("run", "names", "step", "found"),
    [
        ("a", ["a/checkpoints/epoch=1-step=200.ckpt", "a/checkpoints/epoch=3-step=400.ckpt"], 399,
         "a/checkpoints/epoch=1-step=200.ckpt"),
        ("a", ["a/checkpoints/epoch=1-step=200.ckpt", "a/checkpoints/epoch=3-step=400.ckpt"], 400,
         "a/checkpoints/epoch=3-step=400.ckpt"),
        ("out/runs/Nov21", ["out/checkpoint-500/model.bin", "out/checkpoint-1000/model.bin"], 700,
         "out/checkpoint-500"),
        ("a", ["a/model.ckpt-10.index", "a/model.ckpt-9.index"], 12, "a/model.ckpt-10.index"),
        ("a", ["a/iter_0004000.pth"], 4000, "a/iter_0004000.pth"),
        ("a", ["a/epoch_3.pth", "a/best.pt", "a/notes.txt"], 4000, ""),
        ("a", ["a/checkpoints/step=500.ckpt"], 499, ""),
        ("runs/b", ["checkpoint-5/x"], 9, "checkpoint-5"),
        (".", ["ckpt_7.pt"], 9, "ckpt_7.pt"),
    ],
)  # fmt: skip
def test_the_last_one_saved_by_then_is_found(
    tmp_path: Path, run: str, names: list[str], step: int, found: str
) -> None:
    (tmp_path / run).mkdir(parents=True, exist_ok=True)
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_checkpoint(str(tmp_path), run, step) == found


def test_nothing_outside_the_root_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "checkpoint-5").touch()
    for run in (".", "gone/for/good"):
        assert find_checkpoint(str(tmp_path / "root"), run, 9) == ""
    (tmp_path / "root" / "runs").mkdir()
    assert find_checkpoint(str(tmp_path / "root"), "runs", 9) == ""

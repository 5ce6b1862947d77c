"""Which directories are one run."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher.runs import Place, place, template_labels


@pytest.mark.parametrize(
    ("directory", "run", "prefix"),
    [
        (".", ".", ""),
        ("train", ".", "train/"),
        ("a/b/train", "a/b", "train/"),
        ("a/b/validation", "a/b", "validation/"),
        ("model/eval", "model", "eval/"),
        ("model/eval_holdout", "model", "eval_holdout/"),
        ("model/train/eval", "model", "train/eval/"),
        ("catboost_info/learn", "catboost_info", "learn/"),
        ("fs/train_inner", "fs", "train_inner/"),
        ("exp/Train", "exp", "Train/"),
        ("runs/train/exp", "runs/train/exp", ""),
        ("runs/train_resnet", "runs/train_resnet", ""),
        ("runs/latest", "runs/latest", ""),
        ("evaluate_me", "evaluate_me", ""),
    ],
)
def test_a_side_belongs_to_its_parent(directory: str, run: str, prefix: str) -> None:
    assert place(directory, {"epoch_loss", "lr"}) == Place(run, prefix)


@pytest.mark.parametrize(
    ("directory", "tag", "run", "prefix"),
    [
        ("r/Loss_train", "Loss", "r", "Loss_train/"),
        ("r/Loss_epoch_val_set", "Loss/epoch", "r", "Loss_epoch_val_set/"),
        ("r/my_loss_a b", "my loss", "r", "my_loss_a b/"),
        ("r/loss/train", "loss", "r", "loss/train/"),
        ("r/Loss/epoch/val", "Loss/epoch", "r", "Loss/epoch/val/"),
        ("Loss_train", "Loss", ".", "Loss_train/"),
        ("r/losses", "loss", "r/losses", ""),
        ("r/loss", "loss", "r/loss", ""),
    ],
)
def test_children_of_add_scalars_are_known_by_their_own_tag(
    directory: str, tag: str, run: str, prefix: str
) -> None:
    assert place(directory, [tag]) == Place(run, prefix)


def test_a_run_that_logs_more_is_no_child_of_add_scalars() -> None:
    assert place("r/loss_focal", ["loss", "lr"]) == Place("r/loss_focal", "")


def test_a_child_of_add_scalars_stands_below_a_directory_with_an_event_file() -> None:
    here = {"exp", "exp/loss_train"}
    assert place("exp/loss_train", ["loss"], holds=here.__contains__).run == "exp"
    alone = {"sweep/loss_mse", "sweep/loss_huber"}
    assert place("sweep/loss_mse", ["loss"], holds=alone.__contains__).run == "sweep/loss_mse"
    sides = {"sweep/loss_mse/train"}  # a side needs none: Keras writes none there
    assert place("sweep/loss_mse/train", ["epoch_loss"], holds=sides.__contains__).run == (
        "sweep/loss_mse"
    )


def test_what_add_scalars_of_both_libraries_writes_is_recognised(tmp_path: Path) -> None:
    tensorboardx = pytest.importorskip("tensorboardX")
    with tensorboardx.SummaryWriter(str(tmp_path / "exp")) as writer:
        writer.add_scalars("group/loss", {"train": 1.0, "val": 2.0}, 0)
    made = {f.parent.relative_to(tmp_path).as_posix() for f in tmp_path.rglob("*tfevents*")}
    children = {d: place(d, ["group/loss"]).run for d in made if d != "exp"}
    assert children
    assert set(children.values()) == {"exp"}


def test_an_hparams_child_belongs_to_its_run() -> None:
    tags = ["hparam/accuracy", "hparam/loss"]
    assert place("exp/1700000000.25", tags) == Place("exp", "1700000000.25/")
    assert place("runs/1700000000.25", ["loss", "lr"]) == Place("runs/1700000000.25", "")


def test_without_grouping_every_directory_is_a_run() -> None:
    assert place("a/train", ["loss"], grouping=False) == Place("a/train", "")


_PART = st.sampled_from(["a", "train", "eval", "loss", "loss_x", "eval_b", "1700000000.5", "exp"])


@given(st.lists(_PART, min_size=1, max_size=5), st.sets(st.sampled_from(["loss", "hparam/x"])))
def test_run_and_prefix_always_make_up_the_directory(
    parts: list[str], tags: Collection[str]
) -> None:
    where = place("/".join(parts), tags)
    assert f"{where.run}/{where.prefix}".removeprefix("./").rstrip("/") == "/".join(parts)


@pytest.mark.parametrize(
    ("template", "run", "labels"),
    [
        ("{team}/{user}", "vision/ada/r50/3", {"team": "vision", "user": "ada"}),
        ("{team}/{user}", "vision", {"team": "vision"}),
        ("{team}/{user}", ".", {}),
        ("*/{user}/runs/{project}", "x/ada/runs/r50", {"user": "ada", "project": "r50"}),
        ("*/{user}/runs/{project}", "x/ada/logs/r50", {}),
        (
            "user-{user}/{net}_{seed}",
            "user-ada/r_50_3",
            {"user": "ada", "net": "r", "seed": "50_3"},
        ),
        ("{a}.b", "xxb", {}),
        ("/{team}/", "nlp/x", {"team": "nlp"}),
    ],
)
def test_labels_are_read_out_of_the_path(template: str, run: str, labels: dict[str, str]) -> None:
    assert template_labels(template, run) == labels

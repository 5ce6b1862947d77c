"""Which curves a message shows."""

from __future__ import annotations

import numpy as np
import pytest

from tests.notify.examples import an_alert
from watcher.model import Better, Meaning, Role, RunKey
from watcher.picture import chosen, picture
from watcher.series import Window
from watcher.watched import Watched


@pytest.fixture
def run() -> Watched:
    made = Watched(RunKey("/logs", "vision/resnet50"))
    roles = {
        "loss": Role.TRAIN_LOSS,
        "val_loss": Role.VAL_LOSS,
        "val_acc": Role.VAL_METRIC,
        "lr": Role.LEARNING_RATE,
    }
    for tag, role in roles.items():
        made.assigned[tag] = Meaning(role, Better.LOWER, "acc" if "acc" in tag else "loss")
        made.windows[tag] = Window()
        steps = np.arange(20, dtype=np.int64)
        made.windows[tag].extend(steps, steps.astype(float), 1.0 / (1.0 + steps))
    return made


@pytest.mark.parametrize(
    ("inputs", "drawn"),
    [
        ({"val": "val_loss"}, {"loss", "val_loss"}),
        ({"value": "loss", "lr": "lr"}, {"loss", "val_loss"}),
        ({"val": "val_loss", "metric": "val_acc"}, {"loss", "val_loss"}),
        ({"value": "val_acc"}, {"val_acc"}),
        ({"val": "val_acc", "train": "loss"}, {"val_acc"}),
        ({}, {"loss"}),
    ],
)
def test_a_loss_is_drawn_with_its_other_side_and_a_metric_only_alone(
    run: Watched, inputs: dict[str, str], drawn: set[str]
) -> None:
    assert set(chosen(run, an_alert(inputs=inputs))) == drawn
    assert picture(run, an_alert(inputs=inputs)).startswith(b"\x89PNG")


def test_training_is_always_drawn_first(run: Watched) -> None:
    for inputs in ({"val": "val_loss", "train": "loss"}, {"value": "loss"}):
        assert list(chosen(run, an_alert(inputs=inputs))) == ["loss", "val_loss"]


def test_nothing_is_drawn_of_another_try(run: Watched) -> None:
    assert picture(run, an_alert(attempt=1)) is None

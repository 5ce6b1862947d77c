"""The picture: it is one for every curve there can be, and for names from anywhere."""

from __future__ import annotations

import io
import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from watcher.notify.chart import chart
from watcher.series import Curve, Window


def a_window(value: list[float] | np.ndarray, every: int = 1) -> Curve:
    n = len(value)
    window = Window()
    step = np.arange(n, dtype=np.int64) * every
    window.extend(step, np.arange(n, dtype=float), np.asarray(value, dtype=float))
    return window.curve


def an_overfitting() -> dict[str, Curve]:
    n, noise = 3000, np.random.default_rng(1)
    train = 2 * np.exp(-np.arange(n) / 600) + 0.1 + noise.normal(0, 0.05, n)
    at = np.arange(60)
    val = 2 * np.exp(-at / 12) + 0.5 + np.maximum(0, at - 25) * 0.02 + noise.normal(0, 0.02, 60)
    return {"train/loss": a_window(train), "val/loss": a_window(val, 50)}


def picture(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def has(pixels: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(pixels.astype(int) - colour).sum(axis=2) < 30).any())


ONSET, BEST, RATE = (0xC6, 0x28, 0x28), (0x2E, 0x7D, 0x32), (0x8A, 0x56, 0xAC)


def test_onset_and_best_step_are_marked_and_the_rate_lies_beneath() -> None:
    rate = a_window(np.linspace(1e-3, 1e-5, 300), 10)
    png = chart(an_overfitting(), 1250, 1200, "vision/resnet50", beneath=("learning rate", rate))
    pixels = picture(png)
    assert pixels.shape == (540, 960, 3)
    assert all(has(pixels, colour) for colour in (ONSET, BEST, RATE))
    bare = picture(chart(an_overfitting(), None, None, "vision/resnet50"))
    assert not any(has(bare, colour) for colour in (ONSET, BEST, RATE))


def test_the_same_curves_give_the_same_picture() -> None:
    assert chart(an_overfitting(), 1, 2, "x") == chart(an_overfitting(), 1, 2, "x")


@pytest.mark.parametrize(
    "value",
    [
        [],
        [1.0],
        [float("nan")] * 5,
        [1.0, 2.0, float("nan"), float("inf"), 3.0],
        [1e-8, 1.0, 1e30],
        [1.7e308, -1.7e308, 1e308],
        [0.0] * 40,
        [5e-324, 1e-320],
        [-1.0, -1e9],
    ],
    ids=lambda v: str(v[:3]),
)
def test_there_is_a_picture_of_every_curve(value: list[float]) -> None:
    curve = a_window(value)
    assert picture(
        chart({"a": curve, "b": curve}, 3, -5, "t", beneath=("learning rate", curve))
    ).any()


def test_a_run_without_curves_has_a_picture_too() -> None:
    assert picture(chart({}, None, None, "")).any()


@pytest.mark.parametrize(
    "name", ["$\\frac{", "_hidden", "損失 🔥", "a\x1b[31m\n\udcff", "x" * 5000]
)
def test_names_from_anywhere_are_only_text(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert picture(chart({name: a_window([1.0, 2.0])}, 1, 0, name)).any()
    assert caplog.records == []


def test_threads_may_draw_at_once() -> None:
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda i: chart(an_overfitting(), 1250, 1200, "x"), range(4)))
    assert len(set(drawn)) == 1

"""A fault that stays is said once: "Resolved" is kept for what came back."""

from __future__ import annotations

import numpy as np
import pytest

from tests.logs import T0
from watcher import replay
from watcher.model import AlertState, Batch, Columns, RunKey
from watcher.pipeline import Plan
from watcher.rules import default_rules

PLAN = Plan(default_rules())
SHAPES = {}


def shape(detector):
    def note(make):
        SHAPES[make.__name__] = (detector, make)
        return make

    return note


def rough(rng, n, spread):
    return np.exp(rng.normal(0, spread, n))


@shape("collapse")
def a_return_that_fades(rng):
    at = np.arange(300)
    learned = 900 * (1 - np.exp(-at / 30)) * np.exp(-np.maximum(0, at - 120) / 40)
    return {"rollout/ep_rew_mean": learned + rng.normal(0, 50, 300)}


@shape("overfitting")
def validation_that_rises_under_noise(rng):
    at = np.arange(80)
    val = 0.55 + 0.7 * np.exp(-at / 7) + 0.006 * np.maximum(0, at - 20)
    return {
        "train/loss": 1.2 * np.exp(-at / 15) * rough(rng, 80, 0.02),
        "val/loss": val * rough(rng, 80, 0.08),
    }


@shape("overfitting")
def validation_that_jumps(rng):
    at = np.arange(60)
    val = (0.4 + np.exp(-at / 8)) * rough(rng, 60, 0.02) * np.where(at < 40, 1, 6)
    return {
        "train/loss": (0.3 + np.exp(-at / 8)) * rough(rng, 60, 0.01),
        "val/loss": val,
    }


@shape("divergence")
def a_loss_that_jumps_while_the_learning_rate_climbs(rng):
    at = np.arange(1500)
    loss = np.where(at < 150, 5.5 + 5.3 * np.exp(-at / 50), 7.5) * rough(rng, 1500, 0.015)
    return {"train/loss": loss, "train/lr": np.minimum(at / 300, 1.0)}


@shape("divergence")
def a_loss_that_creeps_up(rng):
    at = np.arange(3000)
    loss = 2.4 + 7 * np.exp(-at / 150) + np.maximum(0, at - 1500) / 1500 * 0.7
    return {"train/loss": loss * rough(rng, 3000, 0.02), "train/lr": 1 - at / 3200}


@shape("spike")
def a_level_that_a_jump_reached(rng):
    at = np.arange(6000)
    return {"train/loss": np.where(at < 4500, 2.6, 7.4) * rough(rng, 6000, 0.02)}


@shape("slow_learning")
def a_loss_whose_noise_hides_that_it_stands(rng):
    return {"train/loss": 0.12 * rough(rng, 2000, 0.5), "train/lr": np.full(2000, 1e-5)}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SHAPES)
def test_a_fault_that_stays_fires_once_and_is_never_called_resolved(name, seed):
    detector, make = SHAPES[name]
    series = make(np.random.default_rng(seed))
    n, tags = len(next(iter(series.values()))), tuple(series)
    step = np.repeat(np.arange(n, dtype=np.int64), len(tags))
    tag = np.tile(np.arange(len(tags), dtype=np.int32), n)
    value = np.stack(list(series.values()), axis=1).ravel()
    points = Columns(tags, tag, step, T0 + 10.0 * step, value)
    end = T0 + 10.0 * n
    states = [
        said.alert.state
        for _, _, some in replay.play([Batch(RunKey("/logs", "run"), 0, points, end, end)], PLAN)
        for said in some
        if said.alert.detector == detector
        and said.alert.state is not AlertState.PENDING
        and not said.escalated
        and not said.alert.shadow
    ]
    assert states == [AlertState.FIRING]

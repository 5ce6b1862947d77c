"""What must change no alert: where polls cut a run, and what else it logs."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.batches import batch
from watcher.model import Poll
from watcher.pipeline import Plan, State, tick
from watcher.replay import findings
from watcher.rules import default_rules

PLAN = Plan(default_rules())
SHAPES = ("healthy", "nan", "diverges", "overfits", "jumps", "stuck", "swings")
FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def curve(shape, n, seed):
    """A run's series: training and validation loss, in one of several shapes."""
    rng = np.random.default_rng(seed)
    i = np.arange(n)
    late = i > n // 2
    train = (0.3 + 2 * np.exp(-8 * i / n)) * np.exp(rng.normal(0, 0.03, n))
    val = (0.35 + 2 * np.exp(-8 * i / n)) * np.exp(rng.normal(0, 0.01, n))
    if shape == "nan":
        train[late] = np.nan
    elif shape == "diverges":
        train[late] *= np.exp(4 * (i[late] / n - 0.5))
    elif shape == "overfits":
        val[late] *= 1 + 2 * (i[late] / n - 0.5)
        train *= np.exp(-2 * i / n)
    elif shape == "jumps":
        train[late] *= 5
    elif shape == "stuck":
        train, val = (np.log(10) * np.exp(rng.normal(0, s, n)) for s in (0.003, 0.001))
    elif shape == "swings":
        train[late] *= 1 + 0.4 * np.sin(i[late])
    return {"train/loss": train.tolist(), "val/loss": val.tolist()}


RUNS = st.builds(curve, st.sampled_from(SHAPES), st.integers(20, 300), st.integers(0, 999))


def told(alerts):
    return sorted(
        (a.alert, a.onset_step, a.best_step, a.active_step, a.fired_step, str(a.state))
        for a in alerts
        if a.fired_at is not None and not a.shadow
    )


def followed(whole, cuts):
    """Bring the run's points in several polls and return every alert as it stands at the end."""
    state, held, n = State(), {}, len(whole.points)
    edges = sorted({0, n, *(int(c * n) for c in cuts)})
    for start, stop in itertools.pairwise(edges):
        at = float(whole.points.wall_time[stop - 1])
        points = whole.points.take(slice(start, stop))
        part = dataclasses.replace(whole, points=points, observed_at=at, seen_at=at)
        part = dataclasses.replace(part, fresh=start == 0)
        for change in tick(state, Poll((part,)), PLAN, at).transitions:
            held[change.alert.fingerprint] = change.alert
        held |= {a.fingerprint: a for a in state.alerts()}
    return [a for a in held.values() if a.detector != "stalled"]


@FEW
@given(RUNS, st.lists(st.floats(0, 1), max_size=12))
def test_where_polls_cut_a_run_changes_no_alert_and_no_onset(series, cuts):
    whole = batch(series, fresh=True)
    every_minute = np.linspace(0, 1, 40).tolist()
    assert told(followed(whole, cuts)) == told(followed(whole, every_minute))


@FEW
@given(RUNS, st.sampled_from([math.nan, math.inf, 0.0, 3.0]), st.integers(1, 3))
def test_what_else_a_run_logs_changes_no_alert(series, value, more):
    n = len(series["train/loss"])
    others = {f"debug/histogram_mean_{i}": [value] * n for i in range(more)}
    alone, _ = findings([batch(series, fresh=True)], PLAN)
    beside, _ = findings([batch(series | others, fresh=True)], PLAN)
    assert told(beside) == told(alone)


@FEW
@given(RUNS)
def test_the_same_points_say_the_same_twice(series):
    once, _ = findings([batch(series, fresh=True)], PLAN)
    again, _ = findings([batch(series, fresh=True)], PLAN)
    assert told(again) == told(once)

"""What every detector promises, whatever it detects."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from tests.detectors.curves import noise, window_of
from watcher import advice
from watcher.detectors import Inputs, RunFacts, detectors
from watcher.model import Status, Verdict
from watcher.rules import default_rules, load_pack
from watcher.series import Window

RULES = Path(__file__).parents[2] / "rules"
NAMES = sorted(
    n for n, kind in detectors().items() if kind.detect.__module__.startswith("watcher.")
)
VERBATIM = {"expression", "expression_timed", "threshold"}  # what they say is the user's own
RNG = np.random.default_rng(5)
DOWN = 0.3 + 2 * np.exp(-np.arange(400) / 60)
GENERATED = {
    "empty": np.array([]),
    "one": np.array([1.0]),
    "two": np.array([1.0, 2.0]),
    "short": np.array([3.0, 2.0, 1.0]),
    "nan": np.full(200, np.nan),
    "infinite": np.full(200, np.inf),
    "both infinities": np.tile([np.inf, -np.inf, 1.0], 70),
    "mostly nan": np.where(RNG.random(300) < 0.9, np.nan, 1.0),
    "constant": np.full(300, 0.7),
    "zero": np.zeros(300),
    "huge": 1e308 * RNG.uniform(0.1, 1.0, 300),
    "both huge": 1e308 * RNG.uniform(-1.0, 1.0, 300),
    "tiny": 1e-300 * RNG.uniform(0.1, 1.0, 300),
    "subnormal": 5e-324 * RNG.integers(0, 9, 300),
    "all scales": 10.0 ** RNG.uniform(-300, 300, 300),
    "negative": -DOWN,
    "across zero": DOWN - 1.0,
    "falls": DOWN * noise(400, 0.03),
    "ends in nan": np.append(DOWN, np.nan),
    "long": np.tile(DOWN, 50) * noise(20_000, 0.05),
}


def shapes():
    i = np.arange(400)
    fall = DOWN * noise(400, 0.03, 1)
    yield "falls", fall
    yield "rises", fall * np.where(i < 200, 1.0, 3.0 ** ((i - 200) / 200))
    yield "spike", np.append(fall[:300], 9 * fall[300])
    yield "swings", (fall * np.where(i < 200, 1.0, 1 + 0.4 * np.sin(i)))[:280]
    yield "stuck", np.log(10) * noise(400, 0.003, 2)
    yield "late plateau", np.where(i < 100, DOWN, DOWN[100]) * noise(400, 0.01, 3)
    yield "clean turn", np.array([1.1, 1.0, 0.9, 0.85, 0.83, 0.84, 0.85, 0.88, 0.92, 0.95])
    yield "alternates", np.tile([0.2566, 0.2437], 8)


SHAPES = dict(shapes())


@functools.cache
def params_of(name):
    for rule in default_rules():
        if rule.detector == name:
            return rule.params
    kind = detectors()[name].params
    return kind(
        **{"expr": "train_loss.last > 1"} if name.startswith("expression") else {"above": 1.0}
    )


def ask(name, value, names=None) -> Verdict:
    kind = detectors()[name]
    names = (*kind.inputs, *kind.optional) if names is None else names
    windows = {n: window_of(value) for n in names}
    facts = RunFacts(seen_at=1e3, interval=1.0, longest_pause=5.0, last_step=3, points=len(value))
    return kind.detect(Inputs(windows, facts), params_of(name), 2e3)


def state(window: Window):
    return (
        len(window),
        window.count,
        window.step.tobytes(),
        window.wall_time.tobytes(),
        window.value.tobytes(),
        window.curve.step.tobytes(),
        window.curve.mean.tobytes(),
        repr(window.extremes),
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", GENERATED)
def test_it_never_raises_never_changes_its_windows_and_answers_the_same_twice(name, shape):
    kind, value = detectors()[name], GENERATED[shape]
    for names in ((*kind.inputs, *kind.optional), kind.inputs):
        windows = {n: window_of(value) for n in names}
        before = {n: state(w) for n, w in windows.items()}
        inputs = Inputs(windows, RunFacts(seen_at=1e3, interval=1.0, last_step=3))
        first = kind.detect(inputs, params_of(name), 2e3)
        assert repr(kind.detect(inputs, params_of(name), 2e3)) == repr(first)
        assert {n: state(w) for n, w in windows.items()} == before
        assert first.status is Status.BREACH or not first.reason
        if first.status is Status.BREACH:
            assert first.reason
            assert first.advice == "" or advice.advice(first.advice).helps


@pytest.mark.parametrize("name", [n for n in NAMES if detectors()[n].inputs])
def test_it_is_unknown_when_there_is_nothing(name):
    assert ask(name, GENERATED["empty"]).status is Status.UNKNOWN


@pytest.mark.parametrize("name", sorted(set(NAMES) - VERBATIM - {"nan", "stalled"}))
@pytest.mark.parametrize("shape", ["one", "two", "short"])
def test_it_is_unknown_when_short(name, shape):
    assert ask(name, GENERATED[shape]).status is Status.UNKNOWN


@pytest.mark.parametrize("name", NAMES)
def test_it_has_docstrings_and_a_pack_that_uses_it(name):
    kind = detectors()[name]
    assert kind.detect.__doc__
    assert kind.params.__doc__
    assert not kind.params.__doc__.startswith(f"{kind.params.__name__}(")  # a generated one
    packs = {rule.detector for path in RULES.glob("*.yaml") for rule in load_pack(path).rules}
    assert name.removesuffix("_timed") in packs | {"threshold"}


@pytest.mark.parametrize("name", sorted(set(NAMES) - VERBATIM))
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("factor", [1e-6, 0.37, 1e6])
def test_the_unit_of_a_loss_changes_no_status_and_no_onset(name, shape, factor):
    plain, scaled = ask(name, SHAPES[shape]), ask(name, factor * SHAPES[shape])
    only = detectors()[name].inputs
    alone, alone_scaled = (ask(name, k * SHAPES[shape], only) for k in (1.0, factor))
    assert (scaled.status, scaled.onset, scaled.best) == (plain.status, plain.onset, plain.best)
    assert (alone_scaled.status, alone_scaled.onset) == (alone.status, alone.onset)

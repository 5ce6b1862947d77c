"""The tests that packs hold: their notation, and how what was seen is compared."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from watcher.model import Alert, AlertState, Batch, Rule, RunKey, Severity, Slot
from watcher.packtest import points
from watcher.rules import Pack, load_pack, packs_dir, parse_pack
from watcher.ruletest import EPOCH, batch_of, run_tests

RULE = "rules: [{alert: A, detector: threshold, params: {above: 1}}]\n"


def pack(tests: str) -> Pack:
    return parse_pack(RULE + "tests:\n" + tests, "p.yaml")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1-0.25x4 0.5x2", (1, 0.75, 0.5, 0.25, 0.5, 0.5)),
        ("1+1x3 -2", (1, 2, 3, -2)),
        ("8*0.5x3", (8, 4, 2)),
        ("_ 1 _x2", (None, 1, None, None)),
        ("inf -inf .5 1e-3", (math.inf, -math.inf, 0.5, 0.001)),
        ("-1--1x2", (-1, 0)),
        ("", ()),
    ],
)
def test_the_notation(text: str, values: tuple[float | None, ...]) -> None:
    assert points(text, "a") == values


def test_noise_depends_on_the_name_alone() -> None:
    first, again, other = points("1x50~0.1", "a"), points("1x50~0.1", "a"), points("1x50~0.1", "b")
    assert first == again != other
    assert 0.05 < np.std(np.array(first, float)) < 0.2
    assert all(math.isnan(v or 0) for v in points("nanx3~1", "a"))


@pytest.mark.parametrize("text", ["x3", "1-x3", "1y3", "_~1", "1x999999999", "1x60000 1x60000"])
def test_what_is_not_notation_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be read|more than|no step"):
        points(text, "a")


def test_points_of_all_series_are_merged_by_time() -> None:
    (test,) = pack(
        "  - name: x\n    interval: 30s\n    start_step: 5\n    steps_per_point: 10\n"
        "    series: {a: 1 _ 3, b: {values: [7, .nan], every: 2}}\n"
        "    expect: [{at: end, alerts: []}]\n"
    ).tests
    batch = batch_of(test)
    assert batch.points.step.tolist() == [5, 5, 25, 25]
    assert (batch.points.wall_time - EPOCH).tolist() == [0, 0, 60, 60]
    assert batch.points.tag.tolist() == [0, 1, 0, 1]
    assert batch.points.value.tolist()[:3] == [1, 7, 3]


def alert(**said: object) -> Alert:
    slot = Slot("A", RunKey("test", "run"), 0, "loss")
    known: dict[str, object] = {
        "fingerprint": "f", "slot": slot, "alert": "A", "detector": "threshold", "team": "",
        "severity": Severity.WARNING, "state": AlertState.FIRING, "reason": "high",
        "advice": "", "advice_key": "",
        "onset_step": 3, "best_step": 1, "best_value": 0.5, "value": 2.0, "inputs": {},
        "labels": {}, "annotations": {}, "active_at": 0.0, "active_step": 3, "active_points": 4,
    }  # fmt: skip
    return Alert(**(known | said))  # type: ignore[arg-type]


def failures(expected: str, *alerts: Alert) -> list[str]:
    asked: list[float] = []

    def seen(
        batches: Sequence[Batch], rules: Sequence[Rule], at: Sequence[float]
    ) -> list[tuple[Alert, ...]]:
        asked.extend(t - EPOCH for t in at)
        return [alerts] * len(at)

    text = f"  - name: t\n    series: {{a: 1x10}}\n    expect: [{expected}]\n"
    said = [str(f) for f in run_tests(pack(text), seen)]
    assert asked == sorted(asked)
    return said


@pytest.mark.parametrize(
    "expected",
    [
        "{at: end, alerts: [{alert: A}]}",
        "{step: 4, alerts: [{alert: A, onset_step: 3, best_step: 1, severity: warning}]}",
        "{at: 5m, alerts: [{alert: A, state: firing, detector: threshold}]}, {at: 0m, alerts: "
        "[{alert: A}]}",
    ],
)
def test_what_was_expected_and_seen_is_no_failure(expected: str) -> None:
    assert failures(expected, alert()) == []


def test_a_difference_says_what_was_expected_and_what_was_seen() -> None:
    assert failures("{at: end, alerts: [{alert: A, onset_step: 9}]}", alert()) == [
        "p.yaml:3: t: at end: expected A firing (onset step 9); "
        "unexpected A firing (warning, onset step 3, best step 1): high"
    ]
    pending = alert(state=AlertState.PENDING)
    assert failures("{step: 2, alerts: [{alert: A}]}", pending) == [
        "p.yaml:3: t: at step 2: expected A firing; "
        "saw A pending (warning, onset step 3, best step 1): high"
    ]
    assert failures("{at: 3m, alerts: [{alert: A}]}")[0].endswith("expected A firing; saw none")
    assert "unexpected A firing" in failures("{at: end, alerts: []}", alert())[0]


def test_other_states_are_compared_where_they_are_named() -> None:
    pending = alert(state=AlertState.PENDING)
    assert failures("{at: end, alerts: []}", pending) == []
    assert failures("{at: end, alerts: [{alert: A, state: pending}]}", pending) == []
    assert failures("{at: end, alerts: [{alert: A, state: pending}]}", pending, alert()) != []


def test_an_exact_expectation_chooses_before_a_vague_one() -> None:
    expected = "{at: end, alerts: [{alert: A}, {alert: A, onset_step: 3}]}"
    assert failures(expected, alert(), alert(onset_step=7)) == []


def test_a_threshold_fires_in_the_real_pipeline_where_it_was_crossed() -> None:
    text = """  - name: crosses once
    series: {train/loss: 0.5x20 2x3 0.5x20}
    expect:
      - {step: 19, alerts: []}
      - {step: 20, alerts: [{alert: A, onset_step: 20}]}
      - {at: end, alerts: [{alert: A, state: resolved, onset_step: 20}]}
"""
    assert run_tests(pack(text)) == []


def test_the_shipped_expression_pack_passes_its_own_tests() -> None:
    assert run_tests(load_pack(packs_dir() / "expression.yaml")) == []


@pytest.mark.parametrize("first", ["expr: train_loss.last > 1", "detector: threshold"])
def test_two_rules_of_a_team_are_two_faults_even_if_they_share_a_detector(first: str) -> None:
    second = first.replace("> 1", "> 1.5")
    limits = "" if "expr" in first else "    params: {above: 1}\n"
    text = f"""rules:
  - alert: High
    severity: info
    {first}
{limits}  - alert: VeryHigh
    severity: critical
    {second}
{limits}tests:
  - name: the louder one is said as well
    series: {{train/loss: 0.5x20 2x20}}
    expect:
      - {{at: end, alerts: [{{alert: High}}, {{alert: VeryHigh, severity: critical}}]}}
"""
    assert run_tests(parse_pack(text, "p.yaml")) == []

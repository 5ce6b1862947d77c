"""The curves people named when they asked for this, and the verdict each gets."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

import watcher
from tests.logs import T0, EventLog

NAMES = (
    "steady_descent",
    "falls_then_rises",
    "falls_rises_then_falls_again",
    "oscillates_on_the_floor",
    "overfits_gently",
    "overfits_clearly",
    "healthy_pair",
    "stuck_at_chance",
    "underfits",
    "validation_stops_improving",
)


@pytest.fixture(scope="session")
def curves(shared_dir):
    text = (shared_dir / "cases" / "curves_from_the_brief.yaml").read_text()
    return {case["name"]: case for case in YAML(typ="safe").load(text)}


def write(directory: Path, series) -> None:
    log = EventLog(directory)
    steps = sorted({s["start"] + i for s in series.values() for i in range(len(s["values"]))})
    for step in steps:
        at = {tag: step - s["start"] for tag, s in series.items()}
        values = {
            tag: series[tag]["values"][i]
            for tag, i in at.items()
            if 0 <= i < len(series[tag]["values"])
        }
        log.add(step, values, T0 + 300.0 * step)
    log.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_curve_of_the_brief_gets_its_verdict(name, curves, tmp_path):
    case, expect = curves[name], curves[name]["expect"]
    write(tmp_path / name, case["series"])
    alerts = watcher.scan(tmp_path)
    assert sorted({a.detector for a in alerts}) == sorted(expect["findings"])
    if not alerts:
        return
    (alert,) = alerts
    assert alert.best_step == expect.get("best_step", alert.best_step)
    assert alert.severity == expect.get("severity", alert.severity)
    assert (alert.state == "resolved") == expect.get("resolved", alert.state == "resolved")
    assert alert.fired_step >= expect.get("not_before", alert.fired_step)
    said = f"{alert.reason} {alert.advice}".lower()
    for word in expect.get("advice_mentions", ()):
        assert word.lower() in said

"""Answers the questions of a detection benchmark's scorer with what the watcher says.

``WATCHER_BENCH`` names the directory with ``score.py`` and ``adapters/_serve.py``; without it,
``shared/bench/detect`` beside the checkout. Every request carries its own clock.

The watcher judges every reading in its turn, however many one look brings, so an alert is placed
at the step of the reading that raised it. ``WATCHER_BENCH_AT=look`` places the alerts of a growing
log at the end of the look instead, which adds up to one look's share of the run to every delay.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

_REPO = Path(__file__).resolve().parents[2]
_BENCH = Path(os.environ.get("WATCHER_BENCH", _REPO.parent / "shared" / "bench" / "detect"))
sys.path[:0] = [str(_REPO), str(_BENCH / "adapters")]

from _serve import alarm, serve

import watcher
from watcher.model import Alert

LABELS = {
    "overfitting": "overfit",
    "underfitting": "underfit",
    **{
        name: name
        for name in ("nan", "divergence", "spike", "plateau", "slow_learning", "oscillation")
    },
    "stalled": "stalled",
}
_sessions: dict[str, watcher.Session] = {}


def label(alert: Alert) -> str:
    """Return the benchmark's word for a finding; "other" for what it does not judge."""
    if alert.advice_key == "slow_learning_chance":
        return "chance_level"
    return LABELS.get(alert.detector, "other")


def detect(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the alarms for one run as it stands at the request's time."""
    now, logdir = float(request["now"]), request["logdir"]
    if not request["live"]:
        alerts = watcher.scan(logdir, now=now)
    else:
        session = _sessions.get(request["id"]) or watcher.Session(logdir)
        _sessions[request["id"]] = session
        alerts = session.tick(now)
        if request["final"]:
            del _sessions[request["id"]]
    at_look = request["live"] and os.environ.get("WATCHER_BENCH_AT") == "look"
    return [
        alarm(
            label(a),
            a.onset_step,
            f"{a.alert}: {a.reason}",
            at=None if at_look else a.fired_step,
        )
        for a in alerts
    ]


if __name__ == "__main__":
    serve(detect)

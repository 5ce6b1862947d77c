"""Alerts and notices for tests to vary."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from watcher.alerts import fingerprint
from watcher.model import Alert, AlertState, Notice, RunKey, Severity, Slot

NOW = 1_700_000_000.0
HOSTILE = "<!channel> *b* <https://evil.example|x> <script> @here\r\nBcc: a@b\x1b[31m \udcff\u202e"


def an_alert(
    name: str = "LossIsNaN", run: str = "vision/resnet50", onset: int = 800, **more: Any
) -> Alert:
    """Return a firing alert; ``more`` replaces fields, ``rule`` and ``attempt`` the slot's."""
    attempt = more.pop("attempt", 0)
    root = more.pop("root", "/logs")
    slot = Slot(name, RunKey(root, run), attempt, "loss")
    alert = Alert(
        fingerprint=fingerprint(slot, onset),
        slot=slot,
        alert=name,
        detector=more.pop("detector", "nan"),
        team="vision",
        severity=Severity.CRITICAL,
        state=AlertState.FIRING,
        reason="train/loss became NaN at step 800 and stayed so for 3 points",
        advice="",
        advice_key="",
        onset_step=onset,
        best_step=790,
        best_value=0.2314159,
        value=7.25,
        inputs={"value": "train/loss"},
        labels={"tier": "research"},
        annotations={},
        active_at=NOW,
        active_step=800,
        active_points=800,
        fired_at=NOW,
        fired_step=800,
    )
    return replace(alert, **more)


def a_notice(*alerts: Alert, **more: Any) -> Notice:
    """Return a first notification of ``alerts``; ``more`` replaces its fields."""
    told = alerts or (an_alert(),)
    notice = Notice(
        id=f"notice-{told[0].fingerprint}-{told[0].state}",
        receiver="slack",
        group_key='["slack", "/logs", "vision/resnet50"]',
        alerts=told,
        reason="first notification",
        queued_at=NOW,
        next_attempt_at=NOW,
    )
    return replace(notice, **more)


def closed(alert: Alert, state: AlertState = AlertState.RESOLVED) -> Alert:
    """Return ``alert`` closed."""
    return replace(alert, state=state, resolved_at=NOW + 60, resolved_step=900)

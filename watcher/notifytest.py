"""Does a receiver work? Sends one message that says it is a test, past routes and outbox."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from watcher.alerts import fingerprint
from watcher.config import Config
from watcher.errors import InvalidInput, Problem
from watcher.model import Alert, AlertState, Floats, Ints, Notice, RunKey, Severity, Slot, WallTime
from watcher.notify.alertmanager import Alertmanager
from watcher.notify.base import Attaches, Notifier, SendError
from watcher.notify.chart import chart
from watcher.receivers import Receiver
from watcher.routing import FIRST
from watcher.wiring import notifier

SENT, REFUSED, FAILED = 0, 1, 2
NAME = "WatcherTest"
_RUN = "watcher/notify-test"
_SAID = "this is a test that somebody asked for: nothing is wrong with any training"
_BEST = 40
_ENDS_AFTER = 300.0  # seconds a test stands in an Alertmanager
_AFTER = {
    "alertmanager": "it ends there in 5 minutes",
    "pagerduty": "resolve its incident there",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """``code``: 0 sent, 1 refused for good, 2 not delivered now. ``said`` is one line."""

    code: int
    said: str


def send_test(config: Config, name: str, now: WallTime, token: str) -> Outcome:
    """Send one test notice to a receiver. InvalidInput if there is no such receiver.

    ``token`` makes it another test than those before. WatcherError if a secret cannot be read.
    """
    receiver = config.receivers.get(name)
    if receiver is None:
        said = f'no receiver "{name}"; known: {", ".join(config.receivers)}'
        raise InvalidInput([Problem(str(config.path or "no config"), 0, 0, said)])
    sender, notice = notifier(receiver), the_notice(name, now, token)
    if isinstance(sender, Alertmanager):
        sender = replace(sender, expires_after=_ENDS_AFTER)
    who = f"{name} ({receiver.type})"
    try:
        with_chart = _sent(sender, notice)
    except SendError as error:
        return _failed(who, receiver, error, config)
    parts = [f"{who}: sent{' with a chart' if with_chart else ''}", _AFTER.get(receiver.type, "")]
    return Outcome(SENT, "; ".join(part for part in parts if part))


def _sent(sender: Notifier, notice: Notice) -> bool:
    """Send, and add the chart where there is a place for one."""
    receipt = sender.send(notice, None, notice.alerts)
    if not isinstance(sender, Attaches) or not getattr(sender, "charts", True):
        return False
    try:
        sender.attach(notice, receipt, notice.alerts, _picture(notice.alerts[0]))
    except SendError as error:
        text = f"the text arrived, the chart did not: {error}"
        raise SendError(text, retryable=error.retryable) from error
    return True


def _failed(who: str, receiver: Receiver, error: SendError, config: Config) -> Outcome:
    if not error.retryable:
        next_step = f"correct [receivers.{receiver.name}] in {config.path or 'the config'}"
        return Outcome(REFUSED, f"{who}: refused: {error}; {next_step}")
    again = "the service would try again by itself"
    if error.retry_after:
        return Outcome(FAILED, f"{who}: {error}; wait {error.retry_after:.0f} s; {again}")
    next_step = "if it stays so, look at its address, the network, and the other side's health"
    return Outcome(FAILED, f"{who}: not delivered: {error}; {again}; {next_step}")


def the_notice(receiver: str, now: WallTime, token: str) -> Notice:
    """Return a first notification that says it is a test, in a group of its own."""
    slot = Slot(NAME, RunKey("-", _RUN), 0, token)
    alert = Alert(
        fingerprint=fingerprint(slot, _BEST),
        slot=slot,
        alert=NAME,
        detector="test",
        team="",
        severity=Severity.INFO,
        state=AlertState.FIRING,
        reason=_SAID,
        advice="",
        advice_key="",
        onset_step=_BEST + 1,
        best_step=_BEST,
        best_value=float(_curve().mean.min()),
        value=None,
        inputs={"value": "val/loss"},
        labels={},
        annotations={"summary": f"TEST: {_SAID}"},
        active_at=now,
        active_step=100,
        active_points=100,
        fired_at=now,
        fired_step=100,
    )
    key = json.dumps([receiver, "test", token])
    return Notice(f"test-{token}", receiver, key, (alert,), FIRST, now, next_attempt_at=now)


@dataclass(frozen=True, slots=True)
class _Curve:
    step: Ints
    mean: Floats
    low: Floats
    high: Floats


def _curve() -> _Curve:
    """Return a loss that falls and rises again."""
    step = np.arange(100, dtype=np.int64)
    mean = 0.3 + np.square((step - _BEST) / 60.0)
    return _Curve(step, mean, mean * 0.95, mean * 1.05)


def _picture(alert: Alert) -> bytes:
    curves: dict[str, Any] = {"val/loss": _curve()}
    title = f"TEST: {alert.run}"
    return chart(curves, alert.onset_step, alert.best_step, title)

"""Given an old state and a verdict, what is the new state? The whole state machine, nothing else.

Semantics are Prometheus': inactive → pending (``for``) → firing → (``keep_firing_for``) →
resolved. UNKNOWN keeps everything as it is. What a run's end or a resume does to a firing alert
is a closing of its own, never "resolved". One slot holds at most one open alert.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from watcher.advice import text
from watcher.model import (
    Alert,
    AlertState,
    Hold,
    Rule,
    Severity,
    Slot,
    Status,
    Transition,
    Verdict,
    WallTime,
)

_LOUDNESS = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}
Advance = tuple[Alert | None, tuple[Transition, ...]]


@dataclass(frozen=True, slots=True)
class Look:
    """Under which circumstances a verdict was given.

    ``step`` and ``points`` are those of the trigger series at the judged point, ``inputs`` the
    full tag of each input, ``labels`` the run's own (the rule's win over them). ``severity``
    counts when neither the rule nor the verdict names one. ``onset_at`` is when the verdict's
    onset was reached, by the run's own clock.
    """

    rule: Rule
    slot: Slot
    now: WallTime
    step: int | None = None
    points: int = 0
    inputs: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    severity: Severity = Severity.WARNING
    onset_at: WallTime | None = None


def team_of(alert: Alert) -> str:
    """Return whose alert it is: its rule's team, else the one its run's path names; or ""."""
    return alert.team or alert.labels.get("team", "")


def loudness(severity: Severity) -> int:
    """Rank a severity: a greater number is louder."""
    return _LOUDNESS[severity]


def severity_of(verdict: Verdict, rule: Rule, otherwise: Severity = Severity.WARNING) -> Severity:
    """Return how bad it is: the rule's word goes before the detector's."""
    return rule.severity or verdict.severity or otherwise


def fingerprint(slot: Slot, onset: int | None) -> str:
    """Return the digest that identifies an alert: 16 hex digits, the same on every machine."""
    parts = [slot.rule, slot.run.root, slot.run.run, slot.attempt, slot.subject, onset]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def advance(held: Alert | None, verdict: Verdict, look: Look) -> Advance:
    """Return the slot's alert after ``verdict``, and what happened to it.

    ``held`` is the slot's open alert or the last closed one. The result is None where nothing is
    left to hold: a pending alert that turned OK vanishes without a trace.
    """
    if verdict.status is Status.UNKNOWN:
        return held, ()
    if verdict.status is Status.OK:
        return _calm(held, look)
    if held is None or not held.open:
        return _begin(held, verdict, look)
    if held.state is AlertState.PENDING:
        return _wait(held, verdict, look)
    return _go_on(held, verdict, look)


def close(
    alert: Alert, state: AlertState, now: WallTime, step: int | None
) -> tuple[Alert, Transition]:
    """Close an open alert as ``state``: ENDED, SUPERSEDED, or RESOLVED."""
    closed = replace(alert, state=state, resolved_at=now, resolved_step=step)
    return closed, Transition(alert.state, closed, now)


def _calm(held: Alert | None, look: Look) -> Advance:
    if held is None or not held.open:
        return held, ()
    if held.state is AlertState.PENDING:
        return None, ()
    since = held.ok_at
    if since is None:
        since = look.now
        held = replace(held, ok_at=since, ok_step=look.step, ok_points=look.points)
    if not _lasted(look.rule.keep_firing_for, look, since, held.ok_step, held.ok_points):
        return held, ()
    resolved, transition = close(held, AlertState.RESOLVED, look.now, look.step)
    return resolved, (transition,)


def _begin(held: Alert | None, verdict: Verdict, look: Look) -> Advance:
    """Open a new alert; one that was closed with the same onset begins a new life."""
    onset = _whole(verdict.onset)
    if onset is None:
        onset = _whole(look.step)
    rule = look.rule
    alert = Alert(
        fingerprint=fingerprint(look.slot, onset),
        slot=look.slot,
        alert=rule.alert,
        detector=rule.detector,
        team=rule.team,
        severity=severity_of(verdict, look.rule, look.severity),
        state=AlertState.PENDING,
        reason=verdict.reason,
        advice=text(verdict.advice),
        advice_key=verdict.advice,
        onset_step=onset,
        best_step=_whole(verdict.best),
        best_value=_real(verdict.best_value),
        value=_real(verdict.value),
        inputs=dict(look.inputs),
        labels={**look.labels, **rule.labels},
        annotations=dict(rule.annotations),
        active_at=look.now,
        active_step=look.step,
        active_points=look.points,
        shadow=rule.mode == "shadow",
        onset_at=look.onset_at,
    )
    same = held is not None and held.fingerprint == alert.fingerprint
    return _fire_or_wait(held.state if held and same else None, alert, look, new=True)


def _wait(held: Alert, verdict: Verdict, look: Look) -> Advance:
    """Take the newest findings; until it fires, the onset may still become clearer."""
    onset = _whole(verdict.onset)
    if onset is None:
        onset = held.onset_step
    alert = replace(
        _refreshed(held, verdict, look),
        fingerprint=fingerprint(look.slot, onset),
        onset_step=onset,
        onset_at=look.onset_at,
        severity=severity_of(verdict, look.rule, look.severity),
    )
    return _fire_or_wait(AlertState.PENDING, alert, look, new=False)


def _fire_or_wait(before: AlertState | None, alert: Alert, look: Look, *, new: bool) -> Advance:
    hold = look.rule.for_
    if _lasted(hold, look, alert.active_at, alert.active_step, alert.active_points):
        fired = replace(alert, state=AlertState.FIRING, fired_at=look.now, fired_step=look.step)
        return fired, (Transition(before, fired, look.now),)
    return alert, (Transition(before, alert, look.now),) if new else ()


def _go_on(held: Alert, verdict: Verdict, look: Look) -> Advance:
    """Keep a firing alert's identity and onset; it may become louder, never quieter."""
    severity = max(held.severity, severity_of(verdict, look.rule, look.severity), key=loudness)
    alert = replace(_refreshed(held, verdict, look), severity=severity)
    if severity is held.severity:
        return alert, ()
    return alert, (Transition(AlertState.FIRING, alert, look.now, escalated=True),)


def _refreshed(held: Alert, verdict: Verdict, look: Look) -> Alert:
    onset = _whole(verdict.onset)
    moved = held.fired_at is not None and onset is not None and onset != held.onset_step
    named = moved and re.search(rf"\bstep {onset}\b", verdict.reason)  # two steps need a word
    then = f"; as first told, since step {held.onset_step}" if named else ""
    return replace(
        held,
        value=_real(verdict.value),
        reason=verdict.reason + then,
        advice=text(verdict.advice),
        advice_key=verdict.advice,
        best_step=_whole(verdict.best),
        best_value=_real(verdict.best_value),
        shadow=look.rule.mode == "shadow",
        ok_at=None,
        ok_step=None,
        ok_points=None,
    )


def _whole(step: int | None) -> int | None:
    """Return a plain int: a detector may answer with numpy's, or with a NaN for a step."""
    try:
        return None if step is None else int(step)
    except (ValueError, OverflowError):
        return None


def _real(value: float | None) -> float | None:
    return None if value is None else float(value)


def _lasted(hold: Hold, look: Look, at: WallTime, step: int | None, points: int | None) -> bool:
    """Whether ``hold`` is over, counted from ``at``, ``step`` or ``points``, by its unit."""
    if hold.amount <= 0:
        return True
    units: Mapping[Literal["points", "steps", "seconds"], float | None] = {
        "seconds": look.now - at,
        "steps": None if look.step is None or step is None else look.step - step,
        "points": None if points is None else look.points - points,
    }
    lasted = units[hold.unit]
    return lasted is not None and lasted >= hold.amount

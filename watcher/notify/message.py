"""What does a message say? Alerts in; lines, words and JSON out. ``blocks`` has Slack's form.

Written for someone who is woken at night and reads it on a phone: first what is wrong and with
which run, then since which step, which step to go back to, and what usually helps.

Names of runs and tags come from whoever may write to a log directory. In lines, whatever is not
printable is shown by its escape.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from watcher.advice import advice
from watcher.alerts import team_of
from watcher.model import Alert, AlertState, Notice, Severity
from watcher.precedence import OWN_WORDS
from watcher.routing import FIRST, LOUDER, REPEAT

_SUMMED_UP = OWN_WORDS | {"refused"}  # detectors that do not know what their rule is for

MOST_ALERTS = 8  # shown in full in one Slack message
MOST_LINES = 25  # of a digest
HEADER_LIMIT = 150  # characters of a Slack header
_REASON_LIMIT = 600
_DETAIL_LIMIT = 2000  # of anything in a table of details
NAME_LIMIT = 120

_ICONS = {Severity.CRITICAL: "🔴", Severity.WARNING: "🟠", Severity.INFO: "🔵"}
_CLOSED_ICONS = {AlertState.RESOLVED: "✅", AlertState.ENDED: "⚫", AlertState.SUPERSEDED: "⏪"}
_CLOSED_WORDS = {
    AlertState.RESOLVED: "resolved",
    AlertState.ENDED: "ended while firing",
    AlertState.SUPERSEDED: "superseded by resume",
}
_NEWS = {REPEAT: "Still", LOUDER: "Now"}
_MOST_HOURS = 24.0 * 365
_MOST_GPUS = 1e6
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


# -------------------------------------------------------------------- text


def clean(text: str) -> str:
    """Return ``text`` in one line that no terminal acts on: what is not printable is escaped."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii")
        for c in text
    )


def clip(text: str, limit: int) -> str:
    """Return ``text`` cleaned and cut to ``limit`` characters; an ellipsis says that it was."""
    text = clean(text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def number(value: float | None) -> str:
    """Return a value as people read it, four digits of it; "" for None."""
    return "" if value is None else f"{value:.4g}"


def place(alert: Alert, *, rooted: bool = False) -> str:
    """Name the run; the attempt too, when it is not the first. A long name keeps its end.

    ``rooted``: with its root before it, where there are several.
    """
    name = f"{alert.root}/{alert.run}" if rooted else alert.run
    run = clean(name if alert.run != "." else alert.root)
    if len(run) > NAME_LIMIT:
        run = "…" + run[1 - NAME_LIMIT :]
    return f"{run} (attempt {alert.attempt + 1})" if alert.attempt else run


def subject(alert: Alert) -> str:
    """Name the series that an alert is about; "" if it is about none."""
    return clip(next(iter(alert.inputs.values()), ""), NAME_LIMIT)


def word(alert: Alert) -> str:
    """Say in a word how the alert stands: its severity while it fires, else how it closed."""
    return _CLOSED_WORDS.get(alert.state, alert.severity.value)


def icon(alert: Alert) -> str:
    """Return the sign that goes with ``word``."""
    return _CLOSED_ICONS.get(alert.state, _ICONS[alert.severity])


def steps(alert: Alert) -> str:
    """Say since which step it goes wrong, and which step to go back to."""
    parts = []
    if alert.onset_step is not None:
        parts.append(f"since step {alert.onset_step}")
    if alert.best_step is not None:
        value = number(alert.best_value)
        parts.append(f"best step {alert.best_step}" + (f" ({value})" if value else ""))
    return ", ".join(parts)


def summary(alert: Alert) -> str:
    """Return the rule's own summary with its placeholders filled, else the detector's reason.

    Placeholders are plain ``{name}``; an unknown one stays as it is written.
    """
    template = alert.annotations.get("summary", "")
    return clip(fill(template, alert) if template else alert.reason, _REASON_LIMIT)


def what(alert: Alert) -> str:
    """Return what is wrong, for a line that names the run: a detector's own reason says it all.

    Where it cannot, since it does not know what the rule is for, the summary stands before it.
    """
    said, reason = summary(alert), clip(alert.reason, _REASON_LIMIT)
    if reason and alert.detector not in _SUMMED_UP:
        return reason
    return said if reason in said else f"{said}: {reason}"


def fill(template: str, alert: Alert) -> str:
    """Fill ``{run}``, ``{tag}``, ``{step}``, ... in a template of a rule; labels count too."""
    known: dict[str, str] = {
        **alert.labels,
        "root": alert.root,
        "run": alert.run,
        "attempt": str(alert.attempt),
        "alert": alert.alert,
        "detector": alert.detector,
        "team": team_of(alert),
        "severity": alert.severity.value,
        "tag": next(iter(alert.inputs.values()), ""),
        "step": _text(alert.onset_step),
        "onset": _text(alert.onset_step),
        "fired_step": _text(alert.fired_step),
        "best": _text(alert.best_step),
        "best_value": number(alert.best_value),
        "value": number(alert.value),
        "reason": alert.reason,
    }
    return _PLACEHOLDER.sub(lambda m: known.get(m[1], m[0]), template)


def helps(alert: Alert) -> tuple[str, ...]:
    """Return what usually helps, as suggestions; empty if there is no advice on the finding."""
    try:
        return advice(alert.advice_key).helps
    except KeyError:
        return ()


def runbook(alert: Alert) -> str:
    """Return the address of the rule's runbook; "" if it has none, or one that is no web link."""
    address = alert.annotations.get("runbook", "")
    linked = address.isprintable() and re.fullmatch(r"https?://[^\s<>|\"]{1,500}", address)
    return address if linked else ""


def count(alerts: Sequence[Alert]) -> str:
    """Say how many alerts there are, of how many runs, and how many still fire, if not all."""
    runs = len({alert.slot.run for alert in alerts})
    fire = sum(alert.open for alert in alerts)
    still = f", {fire} of them still firing" if 0 < fire < len(alerts) else ""
    return f"{len(alerts)} alerts in {runs} run{'s' if runs > 1 else ''}{still}"


def rfc3339(at: float) -> str:
    """Return a time as other services read it, in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def details(alert: Alert) -> dict[str, str]:
    """Return what there is to know of an alert, by plain names; nothing that is empty."""
    known = {
        "run": alert.run,
        "root": alert.root,
        "attempt": str(alert.attempt + 1) if alert.attempt else "",
        "what": summary(alert),
        "reason": "" if clean(alert.reason) in summary(alert) else alert.reason,
        "since step": _text(alert.onset_step),
        "best step": _text(alert.best_step),
        "best value": number(alert.best_value),
        "value": number(alert.value),
        "tags": ", ".join(dict.fromkeys(alert.inputs.values())),
        "usually helps": "; ".join(helps(alert)) if alert.open else "",
        "labels": ", ".join(f"{k}={v}" for k, v in sorted(alert.labels.items())),
    }
    return {name: clip(text, _DETAIL_LIMIT) for name, text in known.items() if text}


def _text(value: int | None) -> str:
    return "" if value is None else str(value)


def title(alert: Alert, reason: str) -> str:
    """Say how loud it is and what it is called; and whether it is old news, or over already."""
    how = _NEWS.get(reason, "") if alert.open else ""
    said = f"{how} {word(alert)}" if how else word(alert).capitalize()
    if alert.state is AlertState.RESOLVED and alert.fired_at == alert.resolved_at:
        said = "Came and went"  # within one look: nobody heard that it fired
    return clip(f"{icon(alert)} {said}: {clean(alert.alert)}", HEADER_LIMIT)


def story(alert: Alert) -> str:
    """Name the run, then say what the rule and the detector say of it, nothing twice."""
    run, said, reason = place(alert), summary(alert), clip(alert.reason, _REASON_LIMIT)
    saved = f"Checkpoint: {clip(alert.checkpoint, 300)}" if alert.checkpoint else ""
    parts = ["" if said.startswith(run) else run, said, "" if reason in said else reason, saved]
    return "\n".join(part for part in parts if part) or "(no name, no reason)"


def lost(alert: Alert) -> str:
    """Say how long it had gone wrong when it was noticed or closed; GPU-hours by label ``gpus``.

    "" where it is not known, or less than a minute.
    """
    until = alert.resolved_at if alert.resolved_at is not None else alert.fired_at
    if alert.onset_at is None or until is None:
        return ""
    hours = (until - alert.onset_at) / 3600.0
    if not 1 / 60 <= hours < _MOST_HOURS:  # clocks that differ tell nothing
        return ""
    spent = f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.0f} min"
    try:
        gpus = float(alert.labels.get("gpus", ""))
    except ValueError:
        return spent
    return f"{spent}, {number(gpus * hours)} GPU-hours" if 0 < gpus < _MOST_GPUS else spent


def mentioned(notice: Notice) -> bool:
    """Whether somebody is to be called: it is the first news of something critical."""
    news = notice.reason in (FIRST, LOUDER) or notice.reason.startswith("storm")
    return news and any(
        a.state is AlertState.FIRING and a.severity is Severity.CRITICAL for a in notice.alerts
    )


# -------------------------------------------------------------------- lines


def plain(alert: Alert, *, rooted: bool = False) -> str:
    """Return an alert as one line without control characters; ``rooted`` as for ``place``."""
    name = clip(alert.alert, NAME_LIMIT)
    parts = [word(alert).upper(), place(alert, rooted=rooted), name, subject(alert), steps(alert)]
    said = what(alert)
    return "  ".join(filter(None, parts)) + (f": {said}" if said else "")


def plain_notice(notice: Notice) -> str:
    """Return a notice as lines, one an alert, with what usually helps beneath the firing ones."""
    lines = []
    for alert in notice.alerts:
        lines.append(plain(alert))
        if alert.open and len(notice.alerts) <= MOST_ALERTS:
            if alert.checkpoint:
                lines.append(f"    go back to: {clip(alert.checkpoint, _REASON_LIMIT)}")
            lines += [f"    try: {clip(text, _REASON_LIMIT)}" for text in helps(alert)]
    return "\n".join(lines)


# -------------------------------------------------------------------- JSON


def as_json(alert: Alert) -> dict[str, Any]:
    """Return an alert as plain JSON values: the fields of ``scan --format jsonl``.

    JSON has no NaN: a number that is not finite is written as "NaN", "Infinity", "-Infinity".
    ``advice`` is what usually helps, in words. ``resolved_step`` is null unless it resolved.
    """
    resolved = alert.state is AlertState.RESOLVED
    return {
        "root": clean(alert.root),
        "run": clean(alert.run),
        "attempt": alert.attempt,
        "alert": clean(alert.alert),
        "detector": alert.detector,
        "severity": alert.severity.value,
        "state": alert.state.value,
        "onset_step": alert.onset_step,
        "fired_step": alert.fired_step,
        "fired_at": _finite(alert.fired_at),
        "resolved_step": alert.resolved_step if resolved else None,
        "best_step": alert.best_step,
        "value": _finite(alert.value),
        "reason": clean(alert.reason),
        "advice": alert.advice,
        "inputs": {name: clean(tag) for name, tag in alert.inputs.items()},
        "labels": {clean(name): clean(value) for name, value in alert.labels.items()},
    }


def webhook(notice: Notice) -> dict[str, Any]:
    """Return a notice as the body of a webhook, which ``webhookschema`` describes."""
    return {
        "version": 1,
        "id": notice.id,
        "receiver": notice.receiver,
        "group": notice.group_key,
        "reason": notice.reason,
        "queued_at": notice.queued_at,
        "text": plain_notice(notice),
        "alerts": [
            {
                **as_json(alert),
                "fingerprint": alert.fingerprint,
                "summary": summary(alert),
                "helps": list(helps(alert)),
                "checkpoint": clean(alert.checkpoint),
                "runbook": runbook(alert),
            }
            for alert in notice.alerts
        ],
    }


def _finite(value: float | None) -> float | str | None:
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")

"""Opens and resolves incidents in PagerDuty, by its Events API v2.

An incident is an alert: its fingerprint is the key by which PagerDuty tells that an event is
about an incident it has. What began as a digest of many is one incident, until all are closed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from watcher.alerts import loudness, team_of
from watcher.model import Alert, Notice, Severity
from watcher.notify.base import Progress, Receipt
from watcher.notify.http import Refused, check_address, post
from watcher.notify.message import (
    MOST_ALERTS,
    MOST_LINES,
    clip,
    count,
    details,
    place,
    plain,
    rfc3339,
    runbook,
)

ENQUEUE = "https://events.pagerduty.com/v2/enqueue"
SUMMARY_LIMIT = 1024  # characters; PagerDuty refuses more
_FIELD_LIMIT = 255
_LINE_LIMIT = 300
_DIGEST = "digest"  # in the receipt: the key of the group's digest
_SEVERITIES = {
    Severity.CRITICAL: "critical",
    Severity.WARNING: "warning",
    Severity.INFO: "info",
}
_BAD_EVENT = 400  # an unknown key is one as well
_NEXT_STEP = {
    400: "the event was refused; is it the key of an Events API v2 integration?",
    403: "the key was refused; put the integration's key into the routing key's file",
    404: "no Events API there; correct url",
}


@dataclass(frozen=True, slots=True)
class PagerDuty:
    """``routing_key`` is the key of an "Events API v2" integration of a PagerDuty service.

    ``url`` is the API's address: the EU's, or that of a stand-in.
    """

    routing_key: str = field(repr=False)
    url: str = field(default=ENQUEUE, repr=False)
    timeout: float = 10.0
    progress: Progress = field(default_factory=Progress, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse an address that a secret may not go to."""
        check_address(self.url, private=True)

    def send(self, notice: Notice, thread: Receipt | None, shown: tuple[Alert, ...]) -> Receipt:
        """Send an event for each alert, and one for a digest. Harmless to repeat."""
        digest = (thread or {}).get(_DIGEST, "")
        if thread is None and len(notice.alerts) > MOST_ALERTS:
            digest = notice.id
        events = _events(notice, digest, shown or notice.alerts)
        for event in self.progress.rest(notice.id, events, lambda e: str(e["dedup_key"])):
            body = json.dumps({"routing_key": self.routing_key, **event}, allow_nan=False)
            self._post(body)
        return {_DIGEST: digest} if digest else {}

    def _post(self, body: str) -> None:
        try:
            post("pagerduty", self.url, body.encode(), {}, self.timeout, _explain)
        except Refused as error:
            error.setup |= error.code == _BAD_EVENT and "routing" in error.answer.lower()
            raise


def _events(notice: Notice, digest: str, shown: Sequence[Alert]) -> Iterator[dict[str, Any]]:
    merged = {alert.fingerprint for alert in shown} if digest else set()
    if any(alert.fingerprint in merged for alert in notice.alerts):
        still = [alert for alert in shown if alert.open]
        yield _trigger(digest, _many(still)) if still else _resolve(digest)
    for alert in notice.alerts:
        if alert.fingerprint not in merged:
            key = alert.fingerprint
            yield _trigger(key, _one(alert), runbook(alert)) if alert.open else _resolve(key)


def _resolve(key: str) -> dict[str, Any]:
    return {"event_action": "resolve", "dedup_key": key}


def _trigger(key: str, payload: dict[str, Any], link: str = "") -> dict[str, Any]:
    event: dict[str, Any] = {
        "event_action": "trigger",
        "dedup_key": key,
        "client": "The watcher",
        "payload": payload,
    }
    if link:
        event["links"] = [{"href": link, "text": "Runbook"}]
    return event


def _one(alert: Alert) -> dict[str, Any]:
    return {
        "summary": clip(plain(alert), SUMMARY_LIMIT),
        "source": place(alert),
        "severity": _SEVERITIES[alert.severity],
        "timestamp": rfc3339(alert.active_at if alert.fired_at is None else alert.fired_at),
        "component": clip(next(iter(alert.inputs.values()), ""), _FIELD_LIMIT),
        "group": clip(team_of(alert) or alert.root, _FIELD_LIMIT),
        "class": clip(alert.detector, _FIELD_LIMIT),
        "custom_details": details(alert),
    }


def _many(alerts: Sequence[Alert]) -> dict[str, Any]:
    loudest = max((alert.severity for alert in alerts), key=loudness)
    lines = [clip(plain(alert), _LINE_LIMIT) for alert in alerts[:MOST_LINES]]
    return {
        "summary": clip(f"{count(alerts)}, first {lines[0]}", SUMMARY_LIMIT),
        "source": place(alerts[0]),
        "severity": _SEVERITIES[loudest],
        "custom_details": {
            "alerts": lines,
            "more": max(0, len(alerts) - MOST_LINES),
        },
    }


def _explain(code: int, answer: str) -> str:
    return _NEXT_STEP.get(code, "")  # not what it answers: that may quote the key

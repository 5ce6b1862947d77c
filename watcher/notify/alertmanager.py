"""Hands alerts to an Alertmanager, which routes, groups and repeats them by rules of its own.

An Alertmanager knows an alert by its labels, and forgets it at ``endsAt``. So the labels say
which finding it is, a firing alert ends far ahead, and a closed one a minute before it closed: of
two ends that are both to come, an Alertmanager keeps the later one. An alert that becomes louder
has other labels than before: its quieter self is ended in the same call.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from watcher.alerts import team_of
from watcher.model import Alert, Notice, Severity, WallTime
from watcher.notify.base import Receipt
from watcher.notify.http import check_address, post
from watcher.notify.message import clean, clip, helps, number, rfc3339, runbook, steps, summary

PATH = "/api/v2/alerts"
_CLOCKS_APART = 60.0  # seconds its clock may be behind ours: an end yet to come would end nothing
_TEXT_LIMIT = 2000  # characters of an annotation: they end up in other people's messages
_NEXT_STEP = {
    401: "it asks for a login; set token_file, or username and password_file",
    403: "the login may not post alerts",
    404: "no Alertmanager with API v2 there; correct url",
    405: "no Alertmanager with API v2 there; correct url",
}


@dataclass(frozen=True, slots=True)
class Alertmanager:
    """``url`` is the address of its pages, with a path if it has one.

    ``token`` is a bearer token; else ``username`` and ``password`` log in. A firing alert ends
    ``expires_after`` seconds after it was last told, should nobody come to end it: more than the
    longest interval between repeats. ``generator_url`` is linked from each alert.
    """

    url: str = field(repr=False)
    token: str = field(default="", repr=False)
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    expires_after: float = 90 * 86400.0
    generator_url: str = field(default="", repr=False)
    timeout: float = 10.0

    def __post_init__(self) -> None:
        """Refuse what is not a web address, or not one that a secret may go to."""
        check_address(self.url, private=bool(self.token or self.password))

    def send(self, notice: Notice, thread: Receipt | None, shown: tuple[Alert, ...]) -> Receipt:
        """Post all of a notice in one call; doing it again changes nothing.

        The receipt holds the severity that each open alert of the group was last told with.
        """
        told = dict(thread or {})
        body = json.dumps(list(self._alerts(notice, told)), allow_nan=False).encode()
        address = self.url.rstrip("/").removesuffix(PATH) + PATH
        post("alertmanager", address, body, self._login(), self.timeout, _explain)
        for alert in notice.alerts:
            if alert.open:
                told[alert.fingerprint] = alert.severity.value
            else:
                told.pop(alert.fingerprint, None)
        return told

    def _alerts(self, notice: Notice, told: Receipt) -> Iterator[dict[str, Any]]:
        for alert in notice.alerts:
            before = told.get(alert.fingerprint, alert.severity.value)
            if before != alert.severity.value:
                yield self._alert(alert, before, notice.queued_at - _CLOCKS_APART)
            if alert.open:
                ends = notice.queued_at + self.expires_after
            else:
                ends = (alert.resolved_at or notice.queued_at) - _CLOCKS_APART
            yield self._alert(alert, alert.severity, ends)

    def _alert(self, alert: Alert, severity: Severity | str, ends: WallTime) -> dict[str, Any]:
        starts = alert.active_at if alert.fired_at is None else alert.fired_at
        made: dict[str, Any] = {
            "labels": labels(alert, str(severity)),
            "annotations": said(alert),
            "startsAt": rfc3339(starts),
            "endsAt": rfc3339(max(starts, ends)),  # the other way round is refused
        }
        if self.generator_url:
            made["generatorURL"] = self.generator_url
        return made

    def _login(self) -> dict[str, str]:
        if self.token:
            return {"Authorization": f"Bearer {self.token}"}
        if self.username:
            pair = b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")
            return {"Authorization": f"Basic {pair}"}
        return {}


def labels(alert: Alert, severity: str) -> dict[str, str]:
    """Return the labels that an Alertmanager knows an alert by: ours win over the run's.

    Names that Prometheus would not take are changed; two that become one are told apart by a
    number. Empty labels are left out, as an Alertmanager does.
    """
    ours = {
        "alertname": alert.alert,
        "severity": severity,
        "root": alert.root,
        "run": alert.run,
        "attempt": str(alert.attempt),
        "subject": alert.slot.subject,
        "detector": alert.detector,
        "team": team_of(alert),
        "rule": alert.slot.rule,
        "onset_step": "" if alert.onset_step is None else str(alert.onset_step),
    }
    made: dict[str, str] = {}
    for name, value in sorted(alert.labels.items()):
        if name in ours:
            continue
        plain, count = label_name(name), 2
        while plain in ours or plain in made:
            plain, count = f"{label_name(name)}_{count}", count + 1
        made[plain] = clean(value)
    made |= {name: clean(value) for name, value in ours.items()}
    return {name: value for name, value in made.items() if value}


def label_name(text: str) -> str:
    """Return ``text`` as the name of a Prometheus label; a leading ``__`` is reserved."""
    name = re.sub(r"[^a-zA-Z0-9_]", "_", text)
    if not name.strip("_"):
        return "label"
    if name.startswith("__"):
        name = "_" + name.lstrip("_")
    return f"_{name}" if name[0].isdigit() else name


def said(alert: Alert) -> dict[str, str]:
    """Return what is said about an alert; nothing that is empty."""
    texts = {
        "summary": summary(alert),
        "description": alert.reason,
        "steps": steps(alert),
        "best_step": "" if alert.best_step is None else str(alert.best_step),
        "best_value": number(alert.best_value),
        "value": number(alert.value),
        "tags": ", ".join(dict.fromkeys(alert.inputs.values())),
        "advice": "; ".join(helps(alert)) if alert.open else "",
        "runbook_url": runbook(alert),
    }
    return {name: clip(text, _TEXT_LIMIT) for name, text in texts.items() if text}


def _explain(code: int, answer: str) -> str:
    return _NEXT_STEP.get(code, "") or (answer if code == 400 else "")

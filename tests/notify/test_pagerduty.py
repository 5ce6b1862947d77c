"""PagerDuty over real HTTP: one incident an alert, digests, retries half-way, every failure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.notify.examples import HOSTILE, a_notice, an_alert, closed
from tests.notify.fake_webhook import FakeWebhook
from watcher.model import AlertState, Severity
from watcher.notify.base import SendError
from watcher.notify.pagerduty import SUMMARY_LIMIT, PagerDuty

KEY = "R0UT1NGK3Y"


@pytest.fixture
def fake() -> Iterator[FakeWebhook]:
    with FakeWebhook() as fake:
        yield fake


@pytest.fixture
def pager(fake: FakeWebhook) -> PagerDuty:
    return PagerDuty(KEY, fake.url, timeout=0.3)


def events(fake: FakeWebhook) -> list[dict[str, Any]]:
    """Return what was sent since the last look, each checked against PagerDuty's limits."""
    said = [json.loads(body) for body in fake.bodies]
    for body, event in zip(fake.bodies, said, strict=True):
        assert len(body) < 512 * 1024
        assert event["routing_key"] == KEY
        assert 0 < len(event["dedup_key"]) <= 255
        if event["event_action"] == "trigger":
            payload = event["payload"]
            assert len(payload["summary"]) <= SUMMARY_LIMIT
            assert payload["severity"] in ("critical", "error", "warning", "info")
            assert payload["source"]
    fake.bodies.clear()
    return said


def test_an_alert_opens_an_incident_and_its_end_resolves_it(
    fake: FakeWebhook, pager: PagerDuty
) -> None:
    alert = an_alert(annotations={"runbook": "https://wiki.example.org/nan"})
    receipt = pager.send(a_notice(alert), None, (alert,))
    (opened,) = events(fake)
    assert opened["event_action"] == "trigger"
    assert opened["dedup_key"] == alert.fingerprint
    assert opened["links"] == [{"href": "https://wiki.example.org/nan", "text": "Runbook"}]
    payload = opened["payload"]
    assert payload["summary"].startswith("CRITICAL  vision/resnet50  LossIsNaN")
    assert payload["timestamp"] == "2023-11-14T22:13:20.000+00:00"
    assert payload["custom_details"]["best step"] == "790"
    for state in (AlertState.RESOLVED, AlertState.ENDED, AlertState.SUPERSEDED):
        pager.send(a_notice(closed(alert, state)), receipt, ())
        assert events(fake) == [
            {"routing_key": KEY, "event_action": "resolve", "dedup_key": alert.fingerprint}
        ]


@pytest.mark.parametrize("severity", list(Severity))
def test_severities_are_pagerdutys(
    fake: FakeWebhook, pager: PagerDuty, severity: Severity
) -> None:
    pager.send(a_notice(an_alert(severity=severity)), None, ())
    assert events(fake)[0]["payload"]["severity"] == severity.value


def test_many_alerts_are_one_incident_until_the_last_is_closed(
    fake: FakeWebhook, pager: PagerDuty
) -> None:
    alerts = [an_alert(f"A{i}", severity=Severity.INFO) for i in range(300)]
    alerts.append(an_alert("Loud", severity=Severity.WARNING))
    receipt = pager.send(a_notice(*alerts), None, tuple(alerts))
    (opened,) = events(fake)
    assert opened["payload"]["summary"].startswith("301 alerts in 1 run, first")
    assert opened["payload"]["severity"] == "warning"
    shown = [closed(a) for a in alerts[:-1]]
    receipt = pager.send(a_notice(*shown), receipt, (*shown, alerts[-1]))
    (again,) = events(fake)
    assert (again["event_action"], again["dedup_key"]) == ("trigger", opened["dedup_key"])
    newcomer, last = an_alert("New"), closed(alerts[-1])
    pager.send(a_notice(newcomer, last), receipt, (*shown, last))
    done, own = events(fake)
    assert (done["event_action"], done["dedup_key"]) == ("resolve", opened["dedup_key"])
    assert (own["event_action"], own["dedup_key"]) == ("trigger", newcomer.fingerprint)


def test_a_retry_goes_on_where_the_failure_was(fake: FakeWebhook, pager: PagerDuty) -> None:
    notice = a_notice(*(an_alert(f"A{i}") for i in range(3)))
    fake.answers += [(202, {}, 0.0), (429, {"Retry-After": "30"}, 0.0)]
    with pytest.raises(SendError) as caught:
        pager.send(notice, None, ())
    assert (caught.value.retryable, caught.value.retry_after) == (True, 30.0)
    assert len(events(fake)) == 2
    pager.send(notice, None, ())
    assert [e["dedup_key"] for e in events(fake)] == [a.fingerprint for a in notice.alerts[1:]]
    pager.send(notice, None, ())  # done is done: the same notice again is all of it
    assert len(events(fake)) == 3


def test_hostile_and_long_names_are_plain_text_within_the_limits(
    fake: FakeWebhook, pager: PagerDuty
) -> None:
    for text in (HOSTILE, "x" * 9000):
        alert = an_alert(
            text, run=text, reason=text, team=text, detector=text, inputs={"value": text},
            labels={text: text},
        )  # fmt: skip
        pager.send(a_notice(alert), None, ())
        pager.send(a_notice(*[alert] * 40), None, ())
        for event in events(fake):
            payload = event["payload"]
            said = payload.get("custom_details", {}).values()
            for one in (payload["summary"], payload["source"], *said):
                for line in one if isinstance(one, list) else [one]:
                    assert not isinstance(line, str) or line.isprintable()


@pytest.mark.parametrize(
    ("code", "pause", "retryable", "ambiguous"),
    [
        (400, 0.0, False, False),
        (403, 0.0, False, False),
        (429, 0.0, True, False),
        (500, 0.0, True, True),
        (202, 0.6, True, True),
    ],
)
def test_failures_say_whether_to_retry(
    fake: FakeWebhook, pager: PagerDuty, code: int, pause: float, retryable: bool, ambiguous: bool
) -> None:
    fake.text = f'{{"errors": ["routing_key {KEY} is wrong"]}}'.encode()
    fake.answers.append((code, {}, pause))
    with pytest.raises(SendError) as caught:
        pager.send(a_notice(), None, ())
    assert (caught.value.retryable, caught.value.ambiguous) == (retryable, ambiguous)
    assert KEY not in f"{caught.value} {pager!r}"


def test_the_key_goes_nowhere_in_the_clear() -> None:
    with pytest.raises(ValueError, match="a secret goes there"):
        PagerDuty(KEY, "http://events.example.org/v2/enqueue")

"""Slack's incoming webhooks over real HTTP: plain messages, mentions, and every failure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.notify.examples import HOSTILE, a_notice, an_alert, closed
from tests.notify.fake_webhook import FakeWebhook
from watcher.model import Severity
from watcher.notify.base import Attaches, Finds, SendError
from watcher.notify.fake_slack import mentions
from watcher.notify.pace import Pace
from watcher.notify.slack_webhook import SlackWebhook


@pytest.fixture
def fake() -> Iterator[FakeWebhook]:
    with FakeWebhook() as fake:
        yield fake


def posted(fake: FakeWebhook) -> list[dict[str, Any]]:
    said = [json.loads(body) for body in fake.bodies]
    fake.bodies.clear()
    return said


def test_an_alert_and_its_end_are_two_messages(fake: FakeWebhook) -> None:
    hook = SlackWebhook(fake.url, pace=Pace(0.0))
    alert = an_alert()
    receipt = hook.send(a_notice(alert), None, (alert,))
    end = closed(alert)
    hook.send(a_notice(end, reason="resolved"), receipt, (end,))
    first, last = posted(fake)
    assert "LossIsNaN" in first["text"]
    assert first["blocks"][0]["text"]["text"] == "🔴 Critical: LossIsNaN"
    assert last["blocks"][0]["text"]["text"] == "✅ Resolved: LossIsNaN"
    assert first["unfurl_links"] is False
    assert not isinstance(hook, Attaches | Finds)


def test_no_name_can_mention_link_or_format_and_the_config_can_mention(fake: FakeWebhook) -> None:
    alert = an_alert(HOSTILE, run=HOSTILE, reason=HOSTILE, team=HOSTILE)
    hook = SlackWebhook(fake.url, pace=Pace(0.0), mention="<!here>")
    hook.send(a_notice(alert, reason="repeat interval elapsed"), None, ())
    hook.send(a_notice(alert), None, ())
    hook.send(a_notice(an_alert(severity=Severity.WARNING)), None, ())
    quiet, loud, warning = posted(fake)
    assert mentions(quiet) == mentions(warning) == []
    assert set(mentions(loud)) == {"!here"}
    assert "\x1b" not in json.dumps(quiet, ensure_ascii=False)


def test_blocks_that_slack_refuses_are_left_out(fake: FakeWebhook) -> None:
    fake.text = b"invalid_blocks"
    fake.answers.append((400, {}, 0.0))
    SlackWebhook(fake.url, pace=Pace(0.0)).send(a_notice(), None, ())
    _, plain = posted(fake)
    assert plain["blocks"] == []
    assert "LossIsNaN" in plain["text"]


@pytest.mark.parametrize(
    ("code", "text", "pause", "retryable", "ambiguous", "said"),
    [
        (429, "rate_limited", 0.0, True, False, "429"),
        (503, "", 0.0, True, True, "503"),
        (200, "", 0.6, True, True, "no answer"),
        (404, "no_service", 0.0, False, False, "make a new one"),
        (403, "invalid_token", 0.0, False, False, "copy it again"),
        (410, "channel_is_archived", 0.0, False, False, "archived"),
        (400, "invalid_payload", 0.0, False, False, "cannot read"),
        (302, "", 0.0, False, False, "redirects"),
    ],
)
def test_failures_say_whether_to_retry_and_what_to_do(
    fake: FakeWebhook,
    code: int,
    text: str,
    pause: float,
    retryable: bool,
    ambiguous: bool,
    said: str,
) -> None:
    hook = SlackWebhook(fake.url, pace=Pace(0.0), timeout=0.2)
    fake.text = text.encode()
    fake.answers.append((code, {"Retry-After": "7"}, pause))
    with pytest.raises(SendError, match=said) as caught:
        hook.send(a_notice(), None, ())
    assert (caught.value.retryable, caught.value.ambiguous) == (retryable, ambiguous)
    assert (caught.value.retry_after == 7.0) is (code in (429, 503)) or not retryable
    assert "very-secret" not in f"{caught.value} {hook!r}"
    assert len(fake.bodies) == 1


@pytest.mark.parametrize(
    "url", ["http://hooks.example.org/x", "ftp://h", "https://u:p@h/x", "x y"]
)
def test_an_address_that_is_none_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"must begin|leave it out") as caught:
        SlackWebhook(url)
    assert url not in str(caught.value)

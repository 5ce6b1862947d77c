"""Webhooks over real HTTP: signature, idempotency, redirects, and every failure."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.notify.examples import a_notice, an_alert
from tests.notify.fake_webhook import FakeWebhook
from watcher.notify.base import SendError
from watcher.notify.webhook import IDEMPOTENCY, SIGNATURE, TIMESTAMP, Webhook


@pytest.fixture
def fake() -> Iterator[FakeWebhook]:
    with FakeWebhook() as fake:
        yield fake


def failure(hook: Webhook) -> SendError:
    with pytest.raises(SendError) as caught:
        hook.send(a_notice(), None, ())
    assert "very-secret" not in f"{caught.value} {hook!r}"
    return caught.value


def test_the_body_is_json_signed_with_the_secret(fake: FakeWebhook) -> None:
    notice = a_notice(an_alert(value=float("nan"), run="caf\udcff"))
    assert Webhook(fake.url, b"key", clock=lambda: 1_700_000_123.9).send(notice, None, ()) == {}
    body, headers = fake.bodies[0], fake.headers[0]
    digest = hmac.new(b"key", b"1700000123." + body, hashlib.sha256).hexdigest()
    assert headers[SIGNATURE] == f"sha256={digest}"
    assert headers[TIMESTAMP] == "1700000123"
    assert headers[IDEMPOTENCY] == notice.id
    said = json.loads(body)
    assert (said["id"], said["reason"]) == (notice.id, "first notification")
    assert said["alerts"][0]["value"] == "NaN"
    assert said["alerts"][0]["run"] == "caf\\udcff"


def test_without_a_secret_nothing_is_signed(fake: FakeWebhook) -> None:
    Webhook(fake.url).send(a_notice(), None, ())
    assert not {SIGNATURE, TIMESTAMP} & set(fake.headers[0])


@pytest.mark.parametrize(
    ("code", "headers", "retryable", "ambiguous", "retry_after"),
    [
        (429, {"Retry-After": "9"}, True, False, 9.0),
        (429, {"Retry-After": "0"}, True, False, None),
        (429, {"Retry-After": "-5"}, True, False, None),
        (429, {"Retry-After": "nan"}, True, False, None),
        (429, {"Retry-After": "inf"}, True, False, 3600.0),
        (503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, True, True, None),
        (500, {}, True, True, None),
        (408, {}, True, False, None),
        (400, {}, False, False, None),
        (404, {}, False, False, None),
        (302, {"Location": "http://127.0.0.1:9/elsewhere"}, False, False, None),
        (0, {}, True, True, None),
    ],
)
def test_failures_say_whether_to_retry(
    fake: FakeWebhook,
    code: int,
    headers: dict[str, str],
    retryable: bool,
    ambiguous: bool,
    retry_after: float | None,
) -> None:
    fake.answers.append((code, headers, 0.0))
    error = failure(Webhook(fake.url))
    assert (error.retryable, error.ambiguous) == (retryable, ambiguous)
    assert error.retry_after == retry_after
    assert len(fake.bodies) == 1


def test_no_answer_in_time_may_have_arrived(fake: FakeWebhook) -> None:
    fake.answers.append((200, {}, 0.6))
    error = failure(Webhook(fake.url, timeout=0.2))
    assert error.retryable
    assert error.ambiguous


def test_a_receiver_that_is_not_there_got_nothing() -> None:
    error = failure(Webhook("http://127.0.0.1:9/very-secret"))
    assert error.retryable
    assert not error.ambiguous


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "https://", "nonsense"])
def test_only_web_addresses_are_taken(url: str) -> None:
    with pytest.raises(ValueError, match="must begin with https"):
        Webhook(url)


def test_the_recipe_for_receivers_takes_what_is_sent_and_no_replay(fake: FakeWebhook) -> None:
    deploy = Path(__file__).parents[2] / "deploy" / "README.md"
    (recipe,) = re.findall(r"^```python\n(.*?)^```", deploy.read_text("utf-8"), re.M | re.S)
    names: dict[str, Any] = {}
    exec(recipe, names)
    genuine = names["genuine"]
    Webhook(fake.url, b"key", clock=lambda: 1000.7).send(a_notice(), None, ())
    body, headers = fake.bodies[0], fake.headers[0]
    assert genuine(b"key", headers, body, 1000.0)
    assert genuine(b"key", headers, body, 1299.0)
    for key, said, sent, now in (
        (b"other", headers, body, 1000.0),
        (b"key", headers, body + b" ", 1000.0),
        (b"key", headers, body, 1301.0),  # recorded, and sent again later
        (b"key", {**headers, TIMESTAMP: "2000"}, body, 2000.0),  # made to look new
        (b"key", {**headers, TIMESTAMP: "x"}, body, 1000.0),
        (b"key", {}, body, 1000.0),
    ):
        assert not genuine(key, said, sent, now)

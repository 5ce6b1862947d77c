"""The stand-in is as strict as Slack: what it takes, Slack takes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.notify.examples import a_notice
from watcher.notify.fake_slack import FakeSlack, Refusal
from watcher.notify.slack import Pace, Slack

CHANNEL = "C0000000001"


def section(text: Any) -> dict[str, Any]:
    return {"type": "section", "text": text}


def plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text}


def mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text}


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"text": ""}, "no_text"),
        ({"text": "x" * 40_001}, "msg_too_long"),
        ({"channel": "C9"}, "channel_not_found"),
        ({"thread_ts": "1.0"}, "message_not_found"),
        ({"nonsense": 1}, "invalid_arguments"),
        ({"metadata": {"id": "1"}}, "invalid_metadata_format"),
        ({"blocks": [section(plain("x"))] * 51}, "invalid_blocks"),
        ({"blocks": [section(plain("x" * 3001))]}, "invalid_blocks"),
        ({"blocks": [section(plain(""))]}, "invalid_blocks"),
        ({"blocks": [{"type": "header", "text": plain("x" * 151)}]}, "invalid_blocks"),
        (
            {"blocks": [{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}]},
            "invalid_blocks",
        ),
        ({"blocks": [section({"type": "html", "text": "x"})]}, "invalid_blocks"),
        ({"blocks": [section({**plain("x"), "verbatim": True})]}, "invalid_blocks"),
        ({"blocks": [{"type": "section"}]}, "invalid_blocks"),
        ({"blocks": [{"type": "section", "fields": [plain("x")] * 11}]}, "invalid_blocks"),
        ({"blocks": [{"type": "carousel"}]}, "invalid_blocks"),
        (
            {"blocks": [{"type": "image", "slack_file": {"id": "F1"}, "alt_text": "x"}]},
            "invalid_blocks",
        ),
    ],
)
def test_what_slack_refuses_is_refused(given: dict[str, Any], code: str) -> None:
    with pytest.raises(Refusal, match=code):
        FakeSlack().answer("chat.postMessage", {"channel": CHANNEL, "text": "x", **given})


def test_methods_files_and_messages_that_are_not_there_are_refused() -> None:
    fake = FakeSlack()
    for method, given, code in (
        ("chat.delete", {}, "unknown_method"),
        ("chat.update", {"channel": CHANNEL, "ts": "1.0", "text": "x"}, "message_not_found"),
        ("files.info", {"file": "F1"}, "file_not_found"),
        ("files.completeUploadExternal", {"files": [{"id": "F1"}]}, "file_not_found"),
    ):
        with pytest.raises(Refusal, match=code):
            fake.answer(method, given)


def test_metadata_is_shown_only_to_who_asks_for_it_and_history_comes_in_pages() -> None:
    fake = FakeSlack()
    for i in range(5):
        metadata = {"event_type": "x", "event_payload": {"id": i}}
        fake.answer(
            "chat.postMessage", {"channel": "#alerts", "text": str(i), "metadata": metadata}
        )
    asked: dict[str, Any] = {"channel": CHANNEL, "limit": 2}
    page = fake.answer("conversations.history", asked)
    assert [m["text"] for m in page["messages"]] == ["4", "3"]
    assert "metadata" not in page["messages"][0]
    cursor = page["response_metadata"]["next_cursor"]
    page = fake.answer("conversations.history", {**asked, "limit": 9, "cursor": cursor})
    assert [m["text"] for m in page["messages"]] == ["2", "1", "0"]
    assert page["response_metadata"]["next_cursor"] == ""


def test_a_message_is_found_in_a_busy_channel() -> None:
    with FakeSlack() as fake:
        bot = Slack(fake.token, CHANNEL, api=fake.api, pace=Pace(0.0))
        receipt = bot.send(a_notice(), None, ())
        for i in range(450):
            fake.answer("chat.postMessage", {"channel": CHANNEL, "text": str(i)})
        assert bot.find(a_notice(), None) == receipt


def test_who_watches_sees_each_message_as_it_comes() -> None:
    seen: list[str] = []
    fake = FakeSlack(on_message=lambda message: seen.append(message["text"]))
    fake.answer("chat.postMessage", {"channel": CHANNEL, "text": "x"})
    assert seen == ["x"]
    assert fake.texts() == ["x"]

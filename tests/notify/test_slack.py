"""Slack over real HTTP against a strict stand-in: threads, edits, charts, and every failure."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.notify.examples import NOW, a_notice, an_alert, closed
from watcher.model import AlertState, Severity
from watcher.notify.base import Attaches, Finds, SendError
from watcher.notify.fake_slack import FakeSlack, Fault, mentions
from watcher.notify.slack import Pace, Slack

CHANNEL = "C0000000001"
HOSTILE = "<!channel> *bold* <https://evil.example|click> <@U1> `x` _y_ @here\x1b[31m & \udcff‮"


@pytest.fixture
def fake() -> Iterator[FakeSlack]:
    with FakeSlack() as fake:
        yield fake


@pytest.fixture
def bot(fake: FakeSlack) -> Slack:
    return Slack(fake.token, CHANNEL, api=fake.api, timeout=2, pace=Pace(0.0))


def failure(bot: Slack) -> SendError:
    with pytest.raises(SendError) as caught:
        bot.send(a_notice(), None, ())
    return caught.value


def test_the_first_message_stands_in_the_channel_and_can_be_found_again(
    fake: FakeSlack, bot: Slack
) -> None:
    notice = a_notice()
    assert bot.find(notice, None) is None
    receipt = bot.send(notice, None, notice.alerts)
    (message,) = fake.messages
    assert (message["channel"], message["ts"]) == (receipt["channel"], receipt["ts"])
    assert "LossIsNaN" in message["text"]
    assert "vision/resnet50" in message["text"]
    assert bot.find(notice, None) == receipt
    assert bot.find(a_notice(id="other"), None) is None


def test_what_got_worse_is_shown_in_the_channel_too_and_a_reminder_is_not(
    fake: FakeSlack, bot: Slack
) -> None:
    receipt = bot.send(a_notice(), None, ())
    for reason, broadcast in (
        ("first notification", True),
        ("louder", True),
        ("repeat interval elapsed", False),
    ):
        notice = a_notice(id=reason, reason=reason)
        assert bot.send(notice, receipt, ()) == receipt
        assert fake.messages[-1]["thread_ts"] == receipt["ts"]
        assert fake.messages[-1]["reply_broadcast"] is broadcast
        assert bot.find(notice, receipt) == receipt


def test_a_resolution_edits_the_first_message_and_is_said_in_its_thread(
    fake: FakeSlack, bot: Slack
) -> None:
    one, two = an_alert("A"), an_alert("B")
    receipt = bot.send(a_notice(one, two), None, (one, two))
    end = a_notice(closed(one), reason="resolved")
    bot.send(end, receipt, (closed(one), two))
    first, reply = fake.messages
    assert first["edited"]
    headers = [b["text"]["text"] for b in first["blocks"] if b["type"] == "header"]
    assert headers == ["✅ Resolved: A", "🔴 Critical: B"]
    assert reply["reply_broadcast"] is False
    assert bot.find(a_notice(one, two), None) == receipt  # an edit keeps what it is found by


def test_a_first_message_that_was_deleted_does_not_stop_the_news(
    fake: FakeSlack, bot: Slack
) -> None:
    receipt = bot.send(a_notice(), None, ())
    fake.faults.append(Fault("error", name="message_not_found", method="chat.update"))
    bot.send(a_notice(closed(an_alert()), reason="resolved"), receipt, (closed(an_alert()),))
    assert len(fake.messages) == 2


def test_what_follows_goes_to_the_channel_that_the_receiver_has_by_now(
    fake: FakeSlack, bot: Slack
) -> None:
    fake.channels["C0000000002"] = "moved"
    before = bot.send(a_notice(), None, ())
    moved = replace(bot, channel="C0000000002")
    notice = a_notice(closed(an_alert()), id="next", reason="resolved")
    receipt = moved.send(notice, before, (closed(an_alert()),))
    assert [m["channel"] for m in fake.messages] == [CHANNEL, "C0000000002"]
    assert "thread_ts" not in fake.messages[-1]
    assert not fake.messages[0].get("edited")
    assert moved.find(notice, before) == receipt
    old = {key: value for key, value in before.items() if key != "asked"}  # as was kept once
    assert moved.send(notice, old, ())["channel"] == "C0000000002"
    assert bot.send(notice, old, ()) == old
    named = replace(bot, channel="alerts")
    assert named.send(notice, named.send(a_notice(), None, ()), ())["asked"] == "alerts"
    assert fake.messages[-1]["thread_ts"]


@pytest.mark.parametrize("name", ["thread_not_found", "message_not_found"])
def test_a_thread_that_is_gone_is_begun_anew(fake: FakeSlack, bot: Slack, name: str) -> None:
    receipt = bot.send(a_notice(), None, ())
    fake.faults.append(Fault("error", name=name, method="chat.postMessage"))
    anew = bot.send(a_notice(id="next", reason="louder"), receipt, ())
    assert anew["ts"] == fake.messages[-1]["ts"] != receipt["ts"]
    assert "thread_ts" not in fake.messages[-1]


def test_a_chart_is_uploaded_and_stays_through_later_edits(fake: FakeSlack, bot: Slack) -> None:
    alert = an_alert()
    receipt = bot.send(a_notice(alert), None, (alert,))
    assert all(block["type"] != "image" for block in fake.messages[0]["blocks"])
    pictured = bot.attach(a_notice(alert), receipt, (alert,), b"png bytes")
    assert fake.files[pictured["file"]]["data"] == b"png bytes"
    for _ in range(2):
        (image,) = [b for b in fake.messages[0]["blocks"] if b["type"] == "image"]
        assert image["slack_file"] == {"id": pictured["file"]}
        end = closed(alert)
        bot.send(a_notice(end, reason="resolved"), pictured, (end,))


def test_no_name_can_mention_link_or_format(fake: FakeSlack, bot: Slack) -> None:
    alert = an_alert(
        alert=HOSTILE,
        run=HOSTILE,
        reason=HOSTILE,
        team=HOSTILE,
        inputs={"value": HOSTILE},
        annotations={"summary": "{run} {tag}", "runbook": "https://evil.example|x> <!here>"},
    )
    alert = replace(alert, slot=replace(alert.slot, run=replace(alert.slot.run, run=HOSTILE)))
    many = [an_alert(f"A{i}", run=HOSTILE) for i in range(20)]
    for told in ((alert,), (alert, closed(alert)), tuple(many)):
        bot.send(a_notice(*told, id=str(len(told))), None, ())
        message = fake.messages[-1]
        assert mentions(message) == []
        assert message["parse"] == "none"
        assert message["mrkdwn"] is False
        assert "\x1b" not in str(message["blocks"])
        assert "\udcff" not in message["text"]


def test_mentions_come_from_the_config_for_critical_news_only(fake: FakeSlack, bot: Slack) -> None:
    loud = replace(bot, mention="<!here>")
    warning = an_alert(severity=Severity.WARNING)
    told = (
        (a_notice(), 2),  # in the notification and in the message
        (a_notice(warning), 0),
        (a_notice(reason="repeat interval elapsed"), 0),
        (a_notice(closed(an_alert()), reason="resolved"), 0),
    )
    for notice, count in told:
        loud.send(notice, None, ())
        assert mentions(fake.messages[-1]) == ["!here"] * count


def test_limits_hold_for_many_alerts_with_long_names(fake: FakeSlack, bot: Slack) -> None:
    for count in (1, 8, 9, 500):
        alerts = [
            an_alert("N" * 400, run=f"{i}/" + "r" * 4000, reason="x" * 9000) for i in range(count)
        ]
        bot.send(a_notice(*alerts, id=str(count)), None, ())
    assert len(fake.messages) == 4  # the stand-in refuses what is over Slack's limits


def test_blocks_that_slack_refuses_are_left_out(fake: FakeSlack, bot: Slack) -> None:
    fake.faults.append(Fault("error", name="invalid_blocks"))
    bot.send(a_notice(), None, ())
    (message,) = fake.messages
    assert message["blocks"] == []
    assert "LossIsNaN" in message["text"]


@pytest.mark.parametrize(
    ("fault", "retryable", "ambiguous", "retry_after"),
    [
        (Fault("status", 429, retry_after=7), True, False, 7.0),
        (Fault("status", 500), True, True, None),
        (Fault("status", 503, retry_after=3), True, True, 3.0),
        (Fault("garbage"), True, True, None),
        (Fault("drop"), True, True, None),
        (Fault("drop_after"), True, True, None),
        (Fault("hang", seconds=3.0), True, True, None),
        (Fault("error", name="ratelimited"), True, False, None),
        (Fault("error", name="fatal_error"), True, True, None),
        (Fault("error", name="invalid_auth"), False, False, None),
        (Fault("error", name="not_in_channel"), False, False, None),
        (Fault("error", name="channel_not_found"), False, False, None),
    ],
    ids=lambda x: f"{x.kind}-{x.name or x.code}" if isinstance(x, Fault) else "",
)
def test_failures_say_whether_to_retry_and_whether_it_may_have_arrived(
    fake: FakeSlack,
    bot: Slack,
    fault: Fault,
    retryable: bool,
    ambiguous: bool,
    retry_after: float | None,
) -> None:
    fake.faults.append(fault)
    error = failure(replace(bot, timeout=1))
    assert (error.retryable, error.ambiguous, error.retry_after) == (
        retryable,
        ambiguous,
        retry_after,
    )
    assert "\n" not in str(error)
    assert fake.calls == ["chat.postMessage"]  # one try, never more


def test_a_slack_that_nobody_listens_for_is_worth_a_retry_and_nothing_arrived(bot: Slack) -> None:
    error = failure(replace(bot, api="http://127.0.0.1:9/api/"))
    assert error.retryable
    assert not error.ambiguous


def test_the_next_step_is_named(fake: FakeSlack, bot: Slack) -> None:
    assert "put a new one into the token file and restart" in str(
        failure(replace(bot, token="xoxb-wrong"))
    )
    assert "invite the bot" in str(failure(replace(bot, channel="C9")))


def test_the_token_is_never_shown(
    fake: FakeSlack, bot: Slack, caplog: pytest.LogCaptureFixture
) -> None:
    secret = replace(bot, token="xoxb-very-secret")
    with caplog.at_level(logging.DEBUG):
        error = failure(secret)
        error2 = failure(replace(secret, api="http://127.0.0.1:9/api/"))
    assert "very-secret" not in f"{secret!r} {error!r} {error2!r} {caplog.text}"


def test_the_pace_allows_a_burst_then_one_an_interval() -> None:
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(1.0, 3, lambda: now[0], sleep)
    for _ in range(5):
        pace.wait()
    assert slept == [1.0, 1.0]
    now[0] += 10
    pace.wait()
    assert slept == [1.0, 1.0]


def test_slack_can_find_and_attach(bot: Slack) -> None:
    assert isinstance(bot, Finds)
    assert isinstance(bot, Attaches)


def test_what_was_ended_or_superseded_says_so(fake: FakeSlack, bot: Slack) -> None:
    for state, words in (
        (AlertState.ENDED, "Ended while firing"),
        (AlertState.SUPERSEDED, "Superseded by resume"),
    ):
        notice = a_notice(closed(an_alert(), state), id=state, queued_at=NOW)
        bot.send(notice, None, ())
        assert words in fake.messages[-1]["text"]


def test_an_owner_is_called_from_a_warning_on(fake: FakeSlack, bot: Slack) -> None:
    knows = replace(bot, mention="<!here>", owners={"alice": "<@U1>"})
    hers = an_alert(severity=Severity.WARNING, labels={"user": "alice"})
    told = (
        (hers, ["@U1", "@U1"]),
        (replace(hers, severity=Severity.CRITICAL), ["!here", "@U1", "!here", "@U1"]),
        (replace(hers, severity=Severity.INFO), []),
        (an_alert(severity=Severity.WARNING, labels={"user": "bob"}), []),
    )
    for alert, called in told:
        knows.send(a_notice(alert, id=str(alert.severity)), None, ())
        assert mentions(fake.messages[-1]) == called


def test_a_receiver_that_was_another_kind_before_begins_a_thread_anew(
    fake: FakeSlack, bot: Slack
) -> None:
    for before in ({}, {"message_id": "<a@example.org>", "subject": "s"}):
        notice = a_notice(id=f"n{len(before)}")
        assert bot.find(notice, before) is None
        assert "ts" in bot.send(notice, before, ())

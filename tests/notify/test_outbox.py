"""Delivery on a real database and a real stand-in for Slack: nothing lost, nothing twice."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.clocks import ManualClock
from tests.notify.examples import NOW, a_notice, an_alert, closed
from watcher.model import Alert, Notice
from watcher.notify.base import Receipt, SendError
from watcher.notify.fake_slack import FakeSlack, Fault
from watcher.notify.outbox import GIVE_UP_AFTER, LONGEST_DELAY, Delivered, deliver
from watcher.notify.slack import Pace, Slack
from watcher.store import Changes, Store

Shown = tuple[Alert, ...]
_ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Recorder:
    """A receiver that records what it gets and fails as it is told."""

    got: list[str] = field(default_factory=list)
    failures: list[SendError] = field(default_factory=list)

    def send(self, notice: Notice, thread: Receipt | None, shown: Shown) -> Receipt:
        if self.failures:
            raise self.failures.pop(0)
        self.got.append(notice.id)
        return {"ts": notice.id}


@dataclass
class Desk:
    """A store, a clock, and one receiver served from it."""

    store: Store
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))

    def queue(self, *notices: Notice) -> None:
        self.store.commit(Changes(self.clock.now(), notices=notices))

    def serve(self, notifier: object, **more: object) -> Delivered:
        return deliver(self.store, "slack", notifier, self.clock, Random(7), **more)  # type: ignore[arg-type]

    def serve_for(self, seconds: float, notifier: object, **more: object) -> list[Delivered]:
        """Serve once a second."""
        out = []
        for _ in range(int(seconds)):
            out.append(self.serve(notifier, **more))
            self.clock.advance(1.0)
        return out

    def owed(self) -> int:
        return sum(d.queued for d in self.store.counts())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Store.open(tmp_path) as store:
        yield Desk(store)


@pytest.fixture
def fake() -> Iterator[FakeSlack]:
    with FakeSlack() as fake:
        yield fake


@pytest.fixture
def bot(fake: FakeSlack) -> Slack:
    return Slack(fake.token, "C0000000001", api=fake.api, timeout=1, pace=Pace(0.0))


def test_what_is_due_is_sent_once_and_in_order(desk: Desk) -> None:
    notifier = Recorder()
    desk.queue(a_notice(id="1"), a_notice(id="2"), a_notice(id="3", group_key="other"))
    assert desk.serve(notifier) == Delivered(sent=3)
    assert notifier.got == ["1", "3", "2"]
    assert desk.serve(notifier) == Delivered()


def test_retry_a_dead_slack_that_comes_back_gets_each_message_once(
    desk: Desk, fake: FakeSlack, bot: Slack
) -> None:
    fake.down = True
    desk.queue(a_notice(id="1"), a_notice(closed(an_alert()), id="2", reason="resolved"))
    desk.queue(a_notice(an_alert("B"), id="3", group_key="other"))
    desk.serve_for(30, bot)
    assert fake.messages == []
    assert desk.owed() == 3
    fake.down = False
    desk.serve_for(2 * LONGEST_DELAY, bot)
    assert desk.owed() == 0
    ids = [m["metadata"]["event_payload"]["id"] for m in fake.messages]
    assert sorted(ids) == ["1", "2", "3"]
    assert ids.index("1") < ids.index("2")


def test_a_dead_receiver_is_asked_less_and_less(desk: Desk, fake: FakeSlack, bot: Slack) -> None:
    fake.down = True
    desk.queue(*[a_notice(id=str(i), group_key=str(i)) for i in range(10)])
    desk.serve_for(1800, bot)
    assert 8 < len(fake.calls) < 60


def test_retry_after_is_honoured_for_the_whole_receiver(
    desk: Desk, fake: FakeSlack, bot: Slack
) -> None:
    fake.faults.append(Fault("status", 429, retry_after=40))
    desk.queue(a_notice(id="1"), a_notice(id="2", group_key="other"))
    assert desk.serve(bot) == Delivered(retried_later=1)
    desk.serve_for(40, bot)
    assert (len(fake.calls), len(fake.messages)) == (1, 0)
    assert desk.serve(bot).sent == 2
    assert len(fake.messages) == 2


@pytest.mark.parametrize("kind", ["drop_after", "hang"])
def test_timeout_a_message_that_arrived_without_an_answer_is_not_sent_again(
    desk: Desk, fake: FakeSlack, bot: Slack, kind: str
) -> None:
    fake.faults.append(Fault(kind, seconds=1.5))
    first, end = a_notice(id="1"), a_notice(closed(an_alert()), id="2", reason="resolved")
    desk.queue(first, end)
    assert desk.serve(bot) == Delivered(retried_later=1)
    desk.serve_for(LONGEST_DELAY, bot)
    assert len(fake.messages) == 2
    assert fake.messages[0]["edited"]
    assert fake.messages[1]["thread_ts"] == fake.messages[0]["ts"]
    assert fake.calls.count("chat.postMessage") == 2


def test_a_reply_that_arrived_without_an_answer_is_not_sent_again(
    desk: Desk, fake: FakeSlack, bot: Slack
) -> None:
    desk.queue(a_notice(id="1"))
    desk.serve(bot)
    fake.faults += [
        Fault("drop_after"),
        Fault("error", name="internal_error", method="conversations.replies"),
    ]
    desk.queue(a_notice(id="2", reason="louder"))
    desk.serve_for(LONGEST_DELAY, bot)
    assert len(fake.messages) == 2
    assert desk.owed() == 0


def test_not_being_allowed_to_look_does_not_lose_the_message(
    desk: Desk, fake: FakeSlack, bot: Slack
) -> None:
    fake.faults += [
        Fault("drop"),
        Fault("error", name="missing_scope", method="conversations.history"),
    ]
    desk.queue(a_notice())
    desk.serve_for(60, bot)
    assert len(fake.messages) == 1


def test_a_permanent_failure_is_a_dead_letter_and_the_fallback_is_told(
    desk: Desk, bot: Slack, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = replace(bot, channel="C9")
    desk.queue(a_notice(id="1"), a_notice(id="2"))
    with caplog.at_level(logging.ERROR):
        assert desk.serve(stranger, fallback="mail") == Delivered(dead=2)
    assert "dead letter, sent to mail" in caplog.text
    assert "invite the bot" in desk.store.list_dead()[0][1]
    instead = Recorder()
    deliver(desk.store, "mail", instead, desk.clock, Random(1))
    assert len(instead.got) == 2


def test_what_somebody_has_to_mend_is_waited_for_and_then_sent_once(
    desk: Desk, fake: FakeSlack, bot: Slack
) -> None:
    desk.queue(a_notice(id="1"), a_notice(an_alert(run="other"), id="2", group_key="other"))
    locked_out = replace(bot, token="xoxb-revoked")
    said = desk.serve_for(3600, locked_out)
    assert (len(fake.messages), sum(done.dead for done in said)) == (0, 0)
    (delivery,) = desk.store.counts()
    assert "put a new one into the token file" in delivery.error
    assert delivery.queued == 2
    desk.serve_for(LONGEST_DELAY, bot)
    assert len(fake.messages) == 2


def test_what_came_and_went_while_a_token_was_revoked_is_no_flood_when_it_is_mended(
    desk: Desk, fake: FakeSlack, bot: Slack
) -> None:
    locked_out = replace(bot, token="xoxb-revoked")
    for i in range(40):
        flap = an_alert(onset=i)
        desk.queue(a_notice(flap, id=f"on{i}"))
        desk.serve_for(20, locked_out)
        desk.queue(a_notice(closed(flap), id=f"off{i}", reason="resolved"))
        desk.serve_for(20, locked_out)
    desk.store.begin(desk.clock.now())  # a new token takes a restart
    desk.serve(bot)
    assert desk.owed() == 0
    assert 1 <= len(fake.messages) < 5  # of eighty
    assert "Resolved" in str(fake.messages[0])


def test_what_cannot_be_sent_for_days_is_given_up(desk: Desk) -> None:
    down = [SendError("down", retryable=True) for _ in range(3)]
    notifier = Recorder(failures=down)
    desk.queue(a_notice())
    desk.serve(notifier)
    desk.clock.advance(GIVE_UP_AFTER)
    assert desk.serve(notifier) == Delivered(dead=1)


def test_a_message_that_always_fails_does_not_hold_up_the_others(desk: Desk) -> None:
    class Picky(Recorder):
        def send(
            self, notice: Notice, thread: Receipt | None, shown: tuple[Alert, ...]
        ) -> Receipt:
            if notice.id == "bad":
                raise SendError("HTTP 500", retryable=True)
            return super().send(notice, thread, shown)

    picky = Picky()
    desk.queue(a_notice(id="bad", group_key="bad"), *[a_notice(id=str(i)) for i in range(5)])
    desk.serve_for(30, picky)
    assert len(picky.got) == 5


def test_a_bug_in_a_notifier_or_a_chart_is_put_off_and_shown(
    desk: Desk, fake: FakeSlack, bot: Slack, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Recorder):
        def send(self, notice: Notice, thread: Receipt | None, shown: Shown) -> Receipt:
            raise KeyError(notice.id)

    def undrawable(notice: Notice) -> bytes:
        raise ZeroDivisionError

    desk.queue(a_notice())
    assert desk.serve(Broken()) == Delivered(retried_later=1)
    assert "KeyError" in caplog.text
    desk.clock.advance(LONGEST_DELAY)
    assert desk.serve(bot, charts=undrawable).sent == 1
    assert "ZeroDivisionError" in caplog.text
    assert len(fake.messages) == 1


def test_a_chart_is_added_after_the_alert_and_its_failure_harms_nothing(
    desk: Desk, fake: FakeSlack, bot: Slack
) -> None:
    fake.faults.append(Fault("error", name="internal_error", method="files.info"))
    desk.queue(a_notice(id="1"), a_notice(an_alert("B"), id="2", group_key="other"))
    assert desk.serve(bot, charts=lambda notice: b"png").sent == 2
    pictures = [[b for b in m["blocks"] if b["type"] == "image"] for m in fake.messages]
    assert [len(p) for p in pictures] == [0, 1]
    end = closed(an_alert("B"))
    desk.queue(a_notice(end, id="3", group_key="other", reason="resolved"))
    desk.serve(bot)
    assert any(b["type"] == "image" for b in fake.messages[1]["blocks"])


def test_no_alert_waits_for_a_chart_and_a_late_chart_undoes_no_edit(
    desk: Desk, fake: FakeSlack, bot: Slack
) -> None:
    one, two, other = an_alert("A"), an_alert("B"), an_alert("C")
    desk.queue(
        a_notice(one, two, id="1"),
        a_notice(closed(one), id="2", reason="resolved"),
        a_notice(other, id="3", group_key="other"),
    )
    sent_before: list[int] = []

    def chart(notice: Notice) -> bytes:
        sent_before.append(len(fake.messages))
        return b"png"

    desk.serve(bot, charts=chart)
    assert sent_before == [3, 3]
    first = fake.messages[0]["blocks"]
    headers = [b["text"]["text"] for b in first if b["type"] == "header"]
    assert headers == ["🔴 Critical: B", "✅ Resolved: A"]
    assert any(b["type"] == "image" for b in first)


def test_the_first_message_keeps_showing_all_its_alerts(
    desk: Desk, fake: FakeSlack, bot: Slack
) -> None:
    one, two = an_alert("A"), an_alert("B")
    desk.queue(a_notice(one, two, id="1"))
    desk.queue(a_notice(closed(one), id="2", reason="resolved"))
    desk.queue(a_notice(closed(two), id="3", reason="resolved"))
    desk.serve(bot)
    headers = [b["text"]["text"] for b in fake.messages[0]["blocks"] if b["type"] == "header"]
    assert headers == ["✅ Resolved: A", "✅ Resolved: B"]


def test_a_slow_receiver_keeps_nobody_waiting(tmp_path: Path) -> None:
    entered, leave = threading.Event(), threading.Event()

    class Slow(Recorder):
        def send(
            self, notice: Notice, thread: Receipt | None, shown: tuple[Alert, ...]
        ) -> Receipt:
            entered.set()
            leave.wait()
            return super().send(notice, thread, shown)

    slow, quick, clock = Slow(), Recorder(), ManualClock(NOW)
    with Store.open(tmp_path) as store:
        store.commit(Changes(NOW, notices=(a_notice(id="1"), a_notice(id="2", receiver="quick"))))
        job = threading.Thread(target=deliver, args=(store, "slack", slow, clock, Random(1)))
        job.start()
        assert entered.wait(10)
        deliver(store, "quick", quick, clock, Random(1))
        store.commit(Changes(NOW + 1))
        assert (quick.got, slow.got) == (["2"], [])  # the slow one is under way still
        leave.set()
        job.join()
        assert slow.got == ["1"]


def test_stopping_leaves_the_rest_for_later(desk: Desk) -> None:
    notifier = Recorder()
    desk.queue(*[a_notice(id=str(i), group_key=str(i)) for i in range(5)])
    assert desk.serve(notifier, stop=lambda: len(notifier.got) >= 2).sent == 2
    assert desk.owed() == 3


@pytest.mark.parametrize(
    ("method", "when"),
    [
        ("claim", "before"),
        ("claim", "after"),
        ("send", "before"),
        ("send", "after"),
        ("mark_sent", "before"),
        ("mark_sent", "after"),
    ],
)
def test_killed_anywhere_a_restart_leaves_exactly_one_message(
    tmp_path: Path, fake: FakeSlack, bot: Slack, method: str, when: str
) -> None:
    with Store.open(tmp_path) as store:
        store.commit(Changes(NOW, notices=(a_notice(),)))
    program = [sys.executable, "-m", "tests.notify.crash_sender"]
    done = subprocess.run(
        [*program, str(tmp_path), fake.api, fake.token, method, when],
        cwd=_ROOT,
        check=False,
        timeout=60,
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    with Store.open(tmp_path) as store:
        desk = Desk(store)
        desk.serve_for(3, bot)
        assert len(fake.messages) == 1
        assert desk.owed() == 0


_faults = st.sampled_from(
    [
        Fault("status", 500),
        Fault("status", 429, retry_after=5),
        Fault("drop"),
        Fault("drop_after"),
        Fault("garbage"),
        Fault("error", name="internal_error", method="conversations.history"),
        Fault("status", 503, method="chat.update"),
        Fault("drop_after", method="chat.update"),
    ]
)


@settings(max_examples=15, deadline=None)
@given(st.lists(_faults, max_size=6), st.integers(0, 99))
def test_whatever_goes_wrong_each_message_is_visible_exactly_once(
    faults: list[Fault], seed: int
) -> None:
    with FakeSlack() as fake, Store.open(":memory:") as store:
        fake.faults.extend(faults)
        bot = Slack(fake.token, "C0000000001", api=fake.api, timeout=1, pace=Pace(0.0))
        clock, random = ManualClock(NOW), Random(seed)
        notices = (
            a_notice(id="1"),
            a_notice(id="2", reason="louder"),
            a_notice(closed(an_alert()), id="3", reason="resolved"),
            a_notice(id="4", group_key="other"),
        )
        store.commit(Changes(NOW, notices=notices))
        for _ in range(200):
            deliver(store, "slack", bot, clock, random)
            clock.advance(10.0)
        ids = [m["metadata"]["event_payload"]["id"] for m in fake.messages]
        assert sorted(ids) == ["1", "2", "3", "4"]
        assert [i for i in ids if i != "4"] == ["1", "2", "3"]


def test_the_first_message_shows_what_fires_again_from_a_later_step_on(
    desk: Desk, fake: FakeSlack, bot: Slack
) -> None:
    def header() -> str:
        blocks = fake.messages[0]["blocks"]
        return next(b["text"]["text"] for b in blocks if b["type"] == "header")

    first, again = an_alert(), an_alert(onset=900)
    desk.queue(a_notice(first, id="1"), a_notice(closed(first), id="2", reason="resolved"))
    desk.serve_for(60, bot)
    assert header().startswith("✅ Resolved")
    desk.queue(a_notice(again, closed(first), id="3", reason="new"))
    desk.serve_for(60, bot)
    assert header().startswith("🔴 Critical")
    desk.queue(a_notice(closed(again), id="4", reason="resolved"))
    desk.serve_for(60, bot)
    assert header().startswith("✅ Resolved")


def test_a_digest_is_not_called_over_while_one_of_it_fires(
    desk: Desk, fake: FakeSlack, bot: Slack
) -> None:
    alerts = [an_alert(run=f"r{n:02}") for n in range(15)]
    desk.queue(a_notice(*alerts, id="1"))
    desk.serve(bot)
    desk.queue(a_notice(closed(alerts[0]), id="2", reason="resolved"))
    desk.serve(bot)
    first = fake.messages[0]["blocks"]
    assert first[0]["text"]["text"] == "🔴 15 alerts in 15 runs, 14 of them still firing"
    assert "✅" in str(first[1:])

"""Slack is away for an hour: nothing lost, nothing doubled, each run's order kept.

Single faults and kills are in ``test_outbox.py``; here the fault lasts, and news keeps coming.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.clocks import ManualClock
from tests.notify.examples import NOW, a_notice, an_alert, closed
from watcher.model import Alert, Notice
from watcher.notify.base import Receipt
from watcher.notify.fake_slack import FakeSlack, Fault, Message
from watcher.notify.outbox import LONGEST_DELAY, deliver
from watcher.notify.slack import Pace, Slack
from watcher.store import Changes, Store

HOUR = 3600.0
EVERY = 5.0  # seconds between the outbox's looks
RUNS = 4


class Lasting:
    """Stands in the place of the fake's faults: the same one for every call while it lasts."""

    def __init__(self, made: Callable[[], Fault]) -> None:
        self._made, self.on = made, True

    def __bool__(self) -> bool:
        return self.on

    def __getitem__(self, at: int) -> Fault:
        return self._made()

    def popleft(self) -> Fault:
        return self._made()


@dataclass
class Fallback:
    """What the fallback receiver got."""

    got: list[str] = field(default_factory=list)

    def send(self, notice: Notice, thread: Receipt | None, shown: tuple[Alert, ...]) -> Receipt:
        self.got.append(notice.id)
        return {}


class Hour:
    """An hour of news of a few runs, and a Slack that is asked all the time."""

    def __init__(self, store: Store, fake: FakeSlack) -> None:
        self.store, self.fake, self.clock = store, fake, ManualClock(NOW)
        pace = Pace(clock=self.clock.monotonic, sleep=self._sleep)
        self.bot = Slack(fake.token, "C0000000001", api=fake.api, timeout=1, pace=pace)
        self.random, self.fallback = Random(3), Fallback()
        self.posted: list[tuple[float, str]] = []
        self.queued: list[str] = []
        fake.on_message = self._note

    def _sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def _note(self, message: Message) -> None:
        if "edited" not in message:
            self.posted.append((self.clock.now(), message["metadata"]["event_payload"]["id"]))

    def news(self) -> None:
        """Queue a beginning, something louder and an end of each run, over the hour."""
        for part, reason in enumerate(("first notification", "louder", "resolved")):
            for run in range(RUNS):
                alert = an_alert(run=f"run{run}")
                told = closed(alert) if reason == "resolved" else alert
                at = NOW + part * 1200.0 + run
                self._queue(
                    a_notice(told, id=f"{run}-{part}", group_key=f"run{run}", reason=reason), at
                )

    def _queue(self, notice: Notice, at: float) -> None:
        self.store.commit(
            Changes(at, notices=(replace(notice, queued_at=at, next_attempt_at=at),))
        )
        self.queued.append(notice.id)

    def pass_until(self, until: float) -> None:
        while self.clock.now() < until:
            deliver(self.store, "slack", self.bot, self.clock, self.random, fallback="fallback")
            deliver(self.store, "fallback", self.fallback, self.clock, self.random)
            self.clock.advance(EVERY)

    def recover(self) -> None:
        self.pass_until(NOW + HOUR + 2 * LONGEST_DELAY)
        self.check()

    def check(self) -> None:
        """Check that each message is there once, in its run's order, and not too fast."""
        ids = [m["metadata"]["event_payload"]["id"] for m in self.fake.messages]
        assert Counter(ids) == Counter(self.queued)
        for run in range(RUNS):
            mine = [i for i in ids if i.startswith(f"{run}-")]
            assert mine == sorted(mine)
        times = [at for at, _ in self.posted]
        assert all(sum(t <= at < t + 10 for at in times) <= 13 for t in times)
        assert self.fallback.got == []
        assert not any(d.queued or d.dead for d in self.store.counts())


@pytest.fixture
def hour(tmp_path: Path) -> Iterator[Hour]:
    with FakeSlack() as fake, Store.open(tmp_path) as store:
        yield Hour(store, fake)


FAULTS: dict[str, Callable[[], Fault]] = {
    "500": lambda: Fault("status", 500),
    "502": lambda: Fault("status", 502),
    "429": lambda: Fault("status", 429, retry_after=60),
    "a proxy's page": lambda: Fault("garbage"),
    "its own trouble": lambda: Fault("error", name="internal_error"),
    "closed without an answer": lambda: Fault("drop"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_an_hour_of_failures_loses_and_doubles_nothing(hour: Hour, kind: str) -> None:
    lasting: Any = Lasting(FAULTS[kind])
    hour.fake.faults = lasting
    hour.news()
    hour.pass_until(NOW + HOUR)
    assert hour.fake.messages == []
    lasting.on = False
    hour.recover()


def test_a_limit_is_kept_to_the_second_and_asked_once_each_time(hour: Hour) -> None:
    lasting: Any = Lasting(FAULTS["429"])
    hour.fake.faults = lasting
    hour.news()
    hour.pass_until(NOW + 600)
    assert len(hour.fake.calls) <= 600 / 60 + 1


def test_refused_for_an_hour_loses_and_doubles_nothing(hour: Hour) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, and never listened on
        there, port = hour.bot, nobody.getsockname()[1]
        hour.bot = replace(there, api=f"http://127.0.0.1:{port}/api/")
        hour.news()
        hour.pass_until(NOW + HOUR)
    assert hour.fake.calls == []
    hour.bot = there
    hour.recover()


@pytest.mark.parametrize("kind", ["hang", "drop_after"])
def test_posts_that_arrive_without_an_answer_are_found_and_not_repeated(
    hour: Hour, kind: str
) -> None:
    """Every post of the hour arrives, no answer does. A look-up works."""
    lasting: Any = Lasting(lambda: Fault(kind, seconds=1.2))
    hour.fake.faults = lasting
    hour.news()
    hour.recover()


def test_the_fallback_takes_over_only_what_slack_refuses_for_good(hour: Hour) -> None:
    lasting: Any = Lasting(lambda: Fault("error", name="channel_not_found"))
    hour.fake.faults = lasting
    hour.news()
    hour.pass_until(NOW + 60)
    assert len(hour.fallback.got) == RUNS
    lasting.on = False
    hour.pass_until(NOW + HOUR)
    assert len(hour.fallback.got) == RUNS
    assert len(hour.fake.messages) == 2 * RUNS

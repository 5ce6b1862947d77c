"""Thousands of runs at once: few messages, no limit of Slack's exceeded, nobody forgotten.

The engine, its database, the outbox and the client of Slack are the real ones; points come out of
memory, and the clock is moved by hand.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.batches import batch
from tests.clocks import ManualClock
from tests.logs import T0
from tests.simple_detectors import Limit, Quiet
from watcher import statepages
from watcher.engine import Engine, Root
from watcher.model import Batch, Poll, Role, Rule, Selector, WallTime
from watcher.notify.fake_slack import FakeSlack
from watcher.notify.outbox import deliver
from watcher.notify.slack import Pace, Slack
from watcher.pipeline import Plan, State
from watcher.routing import Route
from watcher.store import Store

RUNS = 2000
TEAMS = 5
CALM, BROKEN = [1.0] * 4, [1.0, 1.0, 1.0, 9.0]
CHANNELS = {f"C{team:010d}": f"team{team}" for team in range(TEAMS)}


pytestmark = pytest.mark.usefixtures("simple_detectors")


class Feed:
    """Stands where the files are read: each poll brings what was put here."""

    def __init__(self) -> None:
        self.next = Poll(())

    def poll(self, now: WallTime) -> Poll:
        brought, self.next = self.next, replace(self.next, batches=())
        return brought


def name(i: int) -> str:
    return f"team{i % TEAMS}/run{i}"


def points(i: int, values: list[float], first: int, now: float) -> Batch:
    return batch({"loss": values}, first, run=name(i), observed_at=now, seen_at=now)


class Cluster:
    """One root of many runs, five teams with a channel each."""

    def __init__(self, tmp: Path, fake: FakeSlack, rule: Rule, routes: tuple[Route, ...]) -> None:
        self.clock, self.feed = ManualClock(T0 + 240), Feed()
        self.store, self.fake = Store.open(tmp), fake
        root = Root("/logs", self.feed, State())  # type: ignore[arg-type]
        self.engine = Engine([root], Plan((rule,)), routes, self.store, self.clock, {})
        pace = Pace(clock=self.clock.monotonic, sleep=self._sleep)
        self.bots = {
            team: Slack(fake.token, channel, api=fake.api, pace=pace)
            for channel, team in CHANNELS.items()
        }
        self.posted: list[tuple[float, str]] = []
        fake.on_message = lambda message: self.posted.append(
            (self.clock.now(), message["channel"])
        )

    def _sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def poll(self, *batches: Batch, **more: dict[str, str]) -> None:
        """Look at the root, then deliver to everybody."""
        self.feed.next = Poll(batches, **more)  # type: ignore[arg-type]
        self.engine.poll("/logs")
        for team, bot in self.bots.items():
            done = deliver(self.store, team, bot, self.clock, Random(1))
            assert (done.retried_later, done.dead) == (0, 0)

    def check_limits(self) -> None:
        """Slack takes a message a second and channel, with short bursts."""
        for channel in CHANNELS:
            times = [at for at, where in self.posted if where == channel]
            assert all(sum(t <= at < t + 10 for at in times) <= 12 for t in times)


@pytest.fixture
def fake() -> Iterator[FakeSlack]:
    with FakeSlack(channels=dict(CHANNELS)) as slack:
        yield slack


HIGH = Rule("High", "high", {"value": Selector(Role.TRAIN_LOSS)}, Limit())
BY_TEAM = tuple(Route(f"team{t}", match={"run": f"team{t}/*"}) for t in range(TEAMS))


def test_an_outage_of_the_file_system_is_one_message_and_its_end_another(
    tmp_path: Path, fake: FakeSlack
) -> None:
    silent = Rule("Stalled", "quiet", {}, Quiet())
    with ExitStack() as closing:
        cluster = Cluster(tmp_path, fake, silent, (Route("team0"),))
        closing.enter_context(cluster.store)
        now = cluster.clock.now()
        cluster.poll(*(points(i, CALM, 0, now) for i in range(RUNS)))
        for _ in range(6):
            cluster.clock.advance(600)
            cluster.poll(unreachable={"/logs": "Stale file handle"})
        assert len(fake.messages) == 1
        assert "RootUnreachable" in fake.texts()[0]
        now = cluster.clock.advance(30)
        cluster.poll(*(points(i, CALM, 4, now) for i in range(RUNS)))
        cluster.clock.advance(30)
        cluster.poll()
        assert len(fake.messages) == 2
        assert "Resolved" in fake.texts()[1]
        assert fake.messages[1]["thread_ts"] == fake.messages[0]["ts"]


def test_thousands_of_real_failures_are_a_digest_a_team_and_all_are_on_record(
    tmp_path: Path, fake: FakeSlack
) -> None:
    with ExitStack() as closing:
        cluster = Cluster(tmp_path, fake, HIGH, BY_TEAM)
        closing.enter_context(cluster.store)
        for half in range(2):  # a minute is two looks
            now = cluster.clock.now()
            some = range(half * RUNS // 2, (half + 1) * RUNS // 2)
            cluster.poll(*(points(i, BROKEN, 0, now) for i in some))
            cluster.clock.advance(30)
        channels = Counter(message["channel"] for message in fake.messages)
        assert set(channels) == set(CHANNELS)
        assert max(channels.values()) <= 2
        first = fake.messages[0]["blocks"][0]["text"]["text"]
        assert first == f"🟠 {RUNS // 2 // TEAMS} alerts in {RUNS // 2 // TEAMS} runs"
        cluster.check_limits()
        _accounted_for(cluster, tmp_path, "firing")

        now = cluster.clock.advance(600)  # all is well again: as few messages
        before = len(fake.messages)
        cluster.poll(*(points(i, CALM, 4, now) for i in range(RUNS)))
        assert len(fake.messages) - before <= 2 * TEAMS
        cluster.check_limits()
        _accounted_for(cluster, tmp_path, "resolved")


def _accounted_for(cluster: Cluster, tmp: Path, state: str) -> None:
    """Check that `watcher alerts` has every run, and that every one was in a message."""
    config = tmp / "config.toml"
    config.write_text('state_dir = "."\n[[roots]]\npath = "logs"\n')
    (line,), _ = statepages.page("alerts", config, as_json=True)
    on_record = {alert["run"] for alert in json.loads(line) if alert["state"] == state}
    assert on_record == {name(i) for i in range(RUNS)}
    saved = cluster.store.load().heard
    assert len(saved) == (RUNS if state == "firing" else 0)

"""Tests of the engine: real files, a real database, restarts with and without a checkpoint."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from tests.clocks import ManualClock
from tests.logs import T0, EventLog
from tests.simple_detectors import Limit, Quiet
from watcher.checkpoint import load_checkpoint, save_checkpoint
from watcher.engine import HUNG, Engine, restore
from watcher.errors import StoreError
from watcher.model import AlertState, Poll, Role, Rule, RunState, Selector
from watcher.notify.message import title
from watcher.pipeline import Plan
from watcher.routing import Route
from watcher.source.logdir import Logdir
from watcher.store import Store

ROUTES = (Route("console", group_interval=0.0),)


pytestmark = pytest.mark.usefixtures("simple_detectors")


PLAN = Plan((Rule("High", "high", {"value": Selector(Role.TRAIN_LOSS)}, Limit()),))


class SetClock(ManualClock):
    """A clock whose wall time can be set; the monotonic one goes on."""

    off = 0.0

    def now(self) -> float:
        return super().now() + self.off

    def monotonic(self) -> float:
        return super().now()


class House:
    """A log directory, a state directory, and an engine that can be stopped and started."""

    def __init__(self, tmp: Path) -> None:
        self.logs, self.state = tmp / "logs", tmp / "state"
        self.logs.mkdir()
        self.log = EventLog(self.logs / "run")
        self.clock = SetClock(T0)
        self.start()

    def start(self) -> None:
        self.store = Store.open(self.state)
        saved, path = self.store.load(), str(self.logs)
        roots = restore([path], {path: Logdir([path])}, saved, self.state / "ck")
        self.engine = Engine(roots, PLAN, ROUTES, self.store, self.clock, saved.heard)

    def kill(self) -> None:
        """What is in memory is gone; what was committed stays."""
        self.store.close()

    def poll(self) -> None:
        self.clock.advance(30)
        self.engine.poll(str(self.logs))

    def told(self) -> list[tuple[str, str]]:
        owed = []
        while due := self.store.due("console", self.clock.now()):
            for item in due:
                self.store.mark_sent(item.notice, {}, item.notice.alerts, self.clock.now())
                owed += [(item.notice.reason, a.state.value) for a in item.notice.alerts]
        return owed


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path)
    yield made
    made.log.close()
    made.store.close()


@pytest.mark.parametrize("off", [7200.0, -7200.0])
def test_a_clock_that_is_set_makes_no_silence_longer_or_shorter(house, off):
    quiet = Rule("Quiet", "quiet", {}, Quiet())
    house.engine.plan = Plan((quiet,))
    for step in range(5):
        house.log.add(step, {"loss": 1.0}, house.clock.now())
        house.poll()
    house.clock.off = off
    house.poll()
    assert house.told() == []
    for _ in range(8):
        house.poll()
    assert house.told() == []
    for _ in range(4):
        house.poll()
    assert [state for _, state in house.told()] == ["firing"]


def test_a_root_that_is_back_after_a_restart_is_told_as_back(house):
    house.log.add(0, {"loss": 1.0})
    house.poll()
    away = house.logs.rename(house.logs.with_name("away"))
    house.poll()
    assert [state for _, state in house.told()] == ["firing"]
    house.kill()
    house.start()
    house.poll()
    assert house.told() == []
    house.kill()
    away.rename(house.logs)
    house.start()
    house.poll()
    assert [state for _, state in house.told()] == ["resolved"]
    assert house.store.list_alerts(AlertState.FIRING) == []


@pytest.mark.parametrize("checkpoint", [True, False])
def test_a_kill_and_restart_bring_no_second_alert_and_lose_none(house, checkpoint):
    for step in range(10):
        house.log.add(step, {"loss": 9.0 if step == 7 else 1.0})
    house.poll()
    if checkpoint:
        house.engine.save(house.state / "ck")
    (came_and_went,) = house.store.due("console", house.clock.now())  # between two polls
    (alert,) = came_and_went.notice.alerts
    assert "Came and went: " in title(alert, came_and_went.notice.reason)
    assert len(house.told()) == 1
    house.log.add(10, {"loss": 9.0})
    house.poll()
    house.kill()
    house.log.add(11, {"loss": 1.0})
    house.log.add(12, {"loss": 9.0})
    house.start()
    house.poll()
    house.poll()
    assert [state for _, state in house.told()].count("firing") == 2
    firing = [a for a in house.store.list_alerts() if a.state is AlertState.FIRING]
    assert [a.onset_step for a in firing] == [12]
    assert sorted(a.onset_step for a in house.store.list_alerts()) == [7, 10, 12]


def test_a_tick_that_cannot_be_committed_is_kept_and_committed_later(house):
    class Full:
        """The store with a disk that is full for a while."""

        def __init__(self, store):
            self.store, self.full = store, True

        def __getattr__(self, name):
            return getattr(self.store, name)

        def commit(self, changes):
            if self.full:
                raise StoreError("the disk is full")
            self.store.commit(changes)

    full = house.engine._store = Full(house.store)
    house.log.add(0, {"loss": 9.0})
    house.log.add(1, {"loss": 1.0})
    with pytest.raises(StoreError):
        house.poll()
    assert house.told() == []
    full.full = False
    house.poll()
    assert [a.state for a in house.store.list_alerts()] == [AlertState.RESOLVED]
    assert house.store.list_runs()[0].judged == {"loss": 2}


def test_a_hung_mount_is_one_alert_and_stops_nothing_else(tmp_path):
    class Hung:
        """A source that does not answer until it is released."""

        def __init__(self):
            self.released = threading.Event()

        def poll(self, now):
            self.released.wait()
            return Poll(())

    clock, source = ManualClock(T0), Hung()
    with Store.open(tmp_path / "state") as store:
        roots = restore(["/mnt/a"], {"/mnt/a": source}, store.load(), None)
        engine = Engine(roots, PLAN, ROUTES, store, clock, {})
        thread = threading.Thread(target=engine.poll, args=["/mnt/a"])
        thread.start()
        while engine.roots["/mnt/a"].polling_since is None:
            pass
        clock.advance(HUNG + 1)
        engine.check_hung()
        assert [a.alert for a in store.list_alerts()] == ["RootUnreachable"]
        source.released.set()
        thread.join()
        assert [a.state for a in store.list_alerts()] == [AlertState.RESOLVED]


@pytest.mark.parametrize("checkpoint", [True, False])
def test_a_restart_keeps_the_alerts_of_series_that_come_late_in_the_history(house, checkpoint):
    for step in range(10):
        house.log.add(step, {"gpu/temp": 60.0})
    for step in range(10):
        house.log.add(step, {"loss": 9.0})
    house.poll()
    if checkpoint:
        house.engine.save(house.state / "ck")
    assert house.told() == [("first notification", "firing")]
    house.kill()
    house.log.add(10, {"loss": 9.0})
    house.start()
    house.poll()
    house.poll()
    assert house.told() == []
    assert [(a.state, a.onset_step) for a in house.store.list_alerts()] == [(AlertState.FIRING, 0)]


def test_a_poll_waits_while_its_root_is_saved_and_no_point_is_lost(house, monkeypatch):
    path, reading = str(house.logs), threading.Event()
    for step in range(10):
        house.log.add(step, {"train/loss": 1.0})
    house.poll()
    for step in range(10, 20):
        house.log.add(step, {"train/loss": 1.0})
    house.clock.advance(30)
    read, polls = Logdir.poll, threading.Thread(target=house.engine.poll, args=(path,))

    def poll(logdir: Logdir, now: float) -> Poll:
        reading.set()
        return read(logdir, now)

    def save(file: Path, parts: Iterator[object]) -> None:
        first = next(parts)
        polls.start()
        assert not reading.wait(0.3)
        save_checkpoint(file, chain([first], parts))

    monkeypatch.setattr(Logdir, "poll", poll)
    monkeypatch.setattr("watcher.engine.save_checkpoint", save)
    house.engine.save(house.state / "ck")
    polls.join()
    assert reading.is_set()
    house.kill()
    house.start()
    house.poll()
    (run,) = house.engine.roots[path].state.runs.values()
    assert run.windows["train/loss"].count == 20


def test_a_root_that_is_being_read_is_left_out_of_what_is_saved(house, monkeypatch):
    house.log.add(0, {"train/loss": 1.0})
    house.poll()
    go_on, reading = threading.Event(), threading.Event()

    def poll(logdir: Logdir, now: float) -> Poll:
        reading.set()
        go_on.wait(30)
        return Poll(())

    monkeypatch.setattr(Logdir, "poll", poll)
    polls = threading.Thread(target=house.engine.poll, args=(str(house.logs),))
    polls.start()
    reading.wait(30)
    house.engine.save(house.state / "ck")
    assert load_checkpoint(house.state / "ck") == []
    go_on.set()
    polls.join()


def test_of_a_run_that_is_over_the_index_says_when_it_should_have_stopped(house):
    """For as long as it is over, over restarts too, and until it goes on."""
    for step in range(80):
        house.log.add(step, {"loss": 0.5 + 2 * 0.7**step})
    house.poll()
    assert [row.outcome for row in house.store.list_runs()] == [""]
    (house.log.path.parent / "DONE").touch()
    house.poll()
    house.poll()
    (row,) = house.store.list_runs()
    assert row.state is RunState.FINISHED
    assert row.outcome.startswith("loss converged at step 1")
    house.kill()
    house.start()
    house.poll()
    assert [one.outcome for one in house.store.list_runs()] == [row.outcome]
    house.log.add(80, {"loss": 0.5})
    house.poll()
    house.poll()
    assert [one.outcome for one in house.store.list_runs()] == [""]

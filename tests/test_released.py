"""Runs that are long over give up their curves, and say the same as if they had not."""

from __future__ import annotations

import contextlib
import math
import random
import shutil
from pathlib import Path

import pytest

from tests.clocks import ManualClock
from tests.logs import T0, EventLog
from watcher import engine as engine_module
from watcher.engine import Engine, restore
from watcher.errors import StoreError
from watcher.model import RunKey, RunState
from watcher.pipeline import Plan, release
from watcher.routing import Route
from watcher.rules import default_rules
from watcher.source.logdir import Logdir
from watcher.store import Store

PLAN = Plan(default_rules())
HOUR = 3600.0


class House:
    """A service on one root; ``keep`` is how many curves of runs that are over it holds."""

    def __init__(self, tmp: Path, keep: int) -> None:
        self.logs, self.state, self.keep = tmp / "logs", tmp / "state", keep
        self.logs.mkdir(parents=True)
        self.clock = ManualClock(T0)
        self.most = 0
        self.store = Store.open(self.state)
        self.start()

    def start(self) -> None:
        saved, path = self.store.load(), str(self.logs)
        roots = restore([path], {path: Logdir([path])}, saved, self.state / "ck")
        self.engine = Engine(roots, PLAN, (Route("console"),), self.store, self.clock, saved.heard)

    def train(self, run: str, steps: range, nan_from: int = 10**9, name: str = "h") -> None:
        """Write a minute a step, a poll every tenth step."""
        with contextlib.closing(EventLog(self.logs / run, self.clock.now(), name)) as log:
            for step in steps:
                loss = math.nan if step >= nan_from else 2 * 0.99**step
                log.add(step, {"train/loss": loss, "lr": 1e-3}, self.clock.now())
                self.pass_time(60.0, poll=step % 10 == 9)
        self.pass_time(1.0)

    def pass_time(self, seconds: float, *, poll: bool = True) -> None:
        self.clock.advance(seconds)
        if poll:
            self.poll()

    def poll(self) -> None:
        self.engine.poll(str(self.logs))
        state = self.engine.roots[str(self.logs)].state
        release(state, self.clock.now(), self.keep)
        self.most = max(self.most, sum(run.released for run in state.runs.values()))

    def run(self, name: str):
        return self.engine.roots[str(self.logs)].state.runs[RunKey(str(self.logs), name)]

    def alerts(self) -> list[tuple[str, str, str, int | None]]:
        """Return what was ever found: run, alert, state, onset."""
        return sorted(
            (a.run, a.alert, a.state.value, a.onset_step) for a in self.store.list_alerts()
        )


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path, keep=0)
    yield made
    made.store.close()


def test_a_run_that_is_long_over_holds_no_curves_and_has_them_back_when_it_grows(house):
    house.train("run", range(100))
    assert house.run("run").windows
    house.pass_time(8 * HOUR)
    run = house.run("run")
    assert (run.state, run.windows, run.released) == (RunState.ENDED, {}, True)
    house.train("run", range(100, 120), nan_from=115, name="i")
    run = house.run("run")
    assert (run.state, run.windows["train/loss"].count, run.points) == ("running", 120, 240)
    assert house.alerts() == [("run", "LossNaN", "firing", 115)]


def test_a_part_of_a_run_that_grows_brings_back_the_whole_run(house):
    house.train("run/train", range(50))
    house.train("run/validation", range(50))
    house.pass_time(8 * HOUR)
    assert house.run("run").released
    house.train("run/validation", range(50, 60), name="i")
    counts = {tag: window.count for tag, window in house.run("run").windows.items()}
    assert counts["train/train/loss"] == 50
    assert sorted(counts.values())[-1] == 60


def test_what_was_said_before_is_not_said_again_and_a_removed_run_is_gone(house):
    house.train("run", range(40), nan_from=30)
    house.pass_time(8 * HOUR)
    house.pass_time(2 * HOUR)
    assert house.run("run").released
    before = house.alerts()
    house.train("run", range(40, 60), nan_from=50, name="i")
    assert [row for row in house.alerts() if row in before] == before
    house.pass_time(8 * HOUR)
    house.pass_time(2 * HOUR)
    shutil.rmtree(house.logs / "run")
    house.pass_time(1.0)
    assert house.run("run").state is RunState.GONE
    house.train("run", range(10))
    assert house.run("run").windows["train/loss"].count == 10


def test_a_tick_that_fails_as_a_run_wakes_loses_none_of_its_points(house):
    house.train("run", range(100))
    house.pass_time(8 * HOUR)
    commit, house.store.commit = house.store.commit, _full
    with pytest.raises(StoreError):
        house.train("run", range(100, 110), name="i")
    house.engine.save(house.state / "ck")
    house.store.commit = commit
    house.pass_time(1.0)
    assert house.run("run").windows["train/loss"].count == 110


def _full(changes):
    raise StoreError("the disk is full")


def test_a_restart_wakes_a_released_run_as_well(house):
    house.train("run", range(100))
    house.pass_time(8 * HOUR)
    assert house.run("run").released
    house.engine.save(house.state / "ck")
    house.start()
    assert house.run("run").released
    house.train("run", range(100, 110), name="i")
    assert house.run("run").windows["train/loss"].count == 110


def test_after_a_restart_a_part_that_began_no_new_try_is_followed_on(house):
    house.train("run/train", range(30))
    house.train("run/validation", range(30))
    house.train("run/train", range(30), name="i")  # a new try, of this part alone
    house.start()
    house.poll()
    house.train("run/validation", range(30, 45), nan_from=40, name="i")
    assert house.alerts() == [("run", "LossNaN", "firing", 40)]


@pytest.mark.parametrize("seed", range(4))
def test_a_service_that_releases_says_what_one_says_that_keeps_everything(tmp_path, seed):
    said = []
    for keep in (0, 10**9):
        house = House(tmp_path / str(keep), keep)
        draw = random.Random(seed)
        steps = dict.fromkeys(("a", "b/train", "b/validation", "c"), 0)
        for i in range(14):
            run = draw.choice(list(steps))
            more = draw.randint(5, 40)
            begin = max(0, steps[run] - draw.choice([0, 0, 0, 10]))
            steps[run] = begin + more
            bad = begin + draw.randint(0, more) if draw.random() < 0.3 else 10**9
            house.train(run, range(begin, begin + more), bad, name=f"h{i:02d}")
            for _ in range(2):
                house.pass_time(draw.choice([60.0, HOUR, 8 * HOUR]))
        assert (house.most > 0) == (keep == 0)
        said.append((house.alerts(), {r.run.run: r.state for r in house.store.list_runs()}))
        house.store.close()
    assert said[0] == said[1]


def test_the_latest_curves_are_kept(tmp_path):
    house = House(tmp_path, keep=4)
    for name in ("a", "b", "c"):
        house.train(name, range(20))
    house.pass_time(8 * HOUR)
    house.pass_time(2 * HOUR)
    assert [house.run(name).released for name in ("a", "b", "c")] == [True, False, False]
    assert engine_module.KEPT > 4
    house.store.close()


def test_a_removed_run_is_held_for_a_day_and_one_of_its_name_is_another(house):
    house.train("run", range(40), nan_from=30)
    house.train("other", range(10))
    shutil.rmtree(house.logs / "run")
    house.pass_time(HOUR)
    assert house.run("run").state is RunState.GONE
    house.pass_time(25 * HOUR)
    held = house.engine.roots[str(house.logs)].state.runs
    assert [key.run for key in held] == ["other"]
    assert ("run", "LossNaN", "ended", 30) in house.alerts()
    house.train("run", range(60), nan_from=50, name="i")
    assert ("run", "LossNaN", "firing", 50) in house.alerts()
    assert house.run("run").windows["train/loss"].count == 60

"""R12: whose clock counts. Training hosts' clocks may be wrong, and their stamps absurd."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

import pytest

from tests.logs import T0, EventLog
from watcher.config import Root
from watcher.doctor import examine
from watcher.model import AlertState, Health, Transition
from watcher.pipeline import Plan, State, tick
from watcher.rules import default_rules
from watcher.source.logdir import Logdir

PLAN = Plan(default_rules())
HOUR = 3600.0


class Training:
    """A service and one training it sees from the start, whose host's clock is off by ``skew``."""

    def __init__(self, tmp: Path, skew: float) -> None:
        (tmp / "logs").mkdir()
        self.source = Logdir([tmp / "logs"])
        self.state = State(judge_from=T0 - HOUR)
        self.now, self.skew, self.step = T0, skew, 0
        self.said: list[Transition] = []
        self.ailments = [*self.poll()]
        self.log = EventLog(tmp / "logs" / "run")

    def poll(self):
        poll = self.source.poll(self.now)
        self.said += tick(self.state, poll, PLAN, self.now).transitions
        return poll.ailments

    def train(self, minutes: int, loss: float = math.inf, wall: float | None = None) -> None:
        for _ in range(minutes):
            self.now += 60.0
            value = 2 * 0.97**self.step if loss == math.inf else loss
            stamp = self.now + self.skew if wall is None else wall
            self.log.add(self.step, {"train/loss": value}, stamp)
            os.utime(self.log.path, (self.now, self.now))
            self.step += 1
            self.ailments += self.poll()

    def wait(self, minutes: int) -> None:
        for _ in range(minutes):
            self.now += 60.0
            self.ailments += self.poll()

    def told(self) -> list[tuple[str, int]]:
        """Return what fired, and at which minute of our clock."""
        return [
            (t.alert.alert, round((t.at - T0) / 60))
            for t in self.said
            if t.alert.state is AlertState.FIRING
        ]


@pytest.fixture(params=[0.0, 26 * HOUR, -26 * HOUR], ids=["right", "ahead", "behind"])
def training(tmp_path, request):
    made = Training(tmp_path, request.param)
    yield made
    made.log.close()


def test_r12_a_stall_is_told_by_our_own_clock(training):
    training.train(40)
    assert training.told() == []
    training.wait(60)
    ((what, minute),) = training.told()
    assert what == "RunStalled"
    assert 44 < minute < 70


def test_r12_a_clock_that_is_off_hides_no_nan_that_came_live(training):
    training.train(40)
    training.train(5, math.nan)
    assert training.told() == [("LossNaN", 41)]


def test_r12_a_clock_that_is_off_hides_no_nan_among_many_points_of_one_poll(training):
    training.train(40)
    for loss in (0.5, math.nan, *[0.5] * 90):  # it is over after a good many sound points
        training.now += 2.0
        training.step += 1
        training.log.add(training.step, {"train/loss": loss}, training.now + training.skew)
    training.wait(1)
    said = [(t.alert.state, t.alert.onset_step) for t in training.said]
    assert said[0] == (AlertState.FIRING, 42)
    assert (AlertState.RESOLVED, 42) in said


@pytest.mark.parametrize("skew", [-HOUR, -45.0, -300.0, 0.0, 30.0, 3 * HOUR])
def test_r12_clock_skew_is_estimated_and_told_once(tmp_path, skew):
    training = Training(tmp_path, skew)
    training.train(10)
    training.train(3, wall=math.nan)
    training.train(3, wall=1e300)
    training.train(10)
    training.log.close()
    found = [a for a in training.ailments if a.health is Health.SKEWED]
    assert len(found) == (skew > 60 or skew < -900)
    if found:
        (told,) = re.findall(r"about (\d+) s", found[0].detail)
        assert float(told) == pytest.approx(abs(skew), abs=60.0)  # of polling
        assert training.source.health[found[0].path] == found[0]


def test_r12_a_skew_that_ends_is_taken_back(tmp_path):
    training = Training(tmp_path, 3 * HOUR)
    training.train(10)
    training.skew = 0.0
    training.train(70)
    training.log.close()
    assert [a.health for a in training.ailments] == [Health.SKEWED, Health.OK]
    assert training.source.health == {}


@pytest.mark.parametrize("wall", [math.nan, math.inf, -math.inf, 0.0, -5.0, 1e300])
def test_r12_absurd_wall_times_do_no_harm(tmp_path, wall):
    training = Training(tmp_path, 0.0)
    training.train(20)
    training.train(20, wall=wall)
    training.train(20)
    assert training.told() == []
    training.train(3, math.nan, wall=wall)
    training.log.close()
    assert training.told() == [("LossNaN", 61)]


@pytest.mark.parametrize("leap", [30 * 365 * 24 * HOUR, -24 * HOUR])
def test_r12_a_clock_that_was_set_hides_no_stall(tmp_path, leap):
    training = Training(tmp_path, 0.0)
    training.train(20)
    training.skew = leap
    training.train(1)
    training.skew = 0.0
    training.train(20)
    training.wait(60)
    training.log.close()
    assert [what for what, _ in training.told()] == ["RunStalled"]


@pytest.mark.parametrize("wall", [math.nan, 0.0])
def test_r12_a_run_with_nothing_but_absurd_wall_times_is_judged(tmp_path, wall):
    training = Training(tmp_path, 0.0)
    training.train(60, wall=wall)
    assert training.told() == []
    training.train(3, math.nan, wall=wall)
    training.log.close()
    assert [what for what, _ in training.told()] == ["LossNaN"]


@pytest.mark.parametrize("wall", [math.nan, 0.0, 7.0])
def test_r12_a_run_whose_clock_stands_still_can_stall(tmp_path, wall):
    training = Training(tmp_path, 0.0)
    training.train(60, wall=wall)
    training.wait(120)
    training.log.close()
    assert [what for what, _ in training.told()] == ["RunStalled"]


@pytest.mark.parametrize(
    ("skew", "said", "good"),
    [(7200.0, "ahead", False), (-7200.0, "before they arrive", True), (-20.0, "-20 s", True)],
)
def test_r12_the_doctor_shows_the_skew(tmp_path, skew, said, good):
    log = EventLog(tmp_path / "run")
    log.add(1, {"loss": 1.0}, T0 + skew)
    log.close()
    os.utime(log.path, (T0, T0))
    (line,) = [f for f in _root_findings(tmp_path) if said in f.said]
    assert line.good is good


def _root_findings(path: Path):
    from watcher.doctor import _root

    return list(_root(Root(str(path)), T0))


def test_r12_the_doctor_bears_absurd_times(tmp_path):
    log = EventLog(tmp_path / "run")
    log.add(1, {"loss": 1.0}, math.nan)
    log.close()
    assert any("no time" in f.said for f in _root_findings(tmp_path))
    assert [f.good for f in examine(None, T0)]

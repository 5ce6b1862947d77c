"""A service that is killed again and again loses no alert, no chart, and says nothing twice.

``pytest tests/test_crashes.py --kills 500`` makes as many kills at random moments.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.crash_service import PLACES
from tests.logs import EventLog
from tests.waiting import wait
from watcher.notify.fake_slack import FakeSlack, Fault

PATIENCE = 120.0  # seconds until a wait is given up; never decides what is right
PACK = """
rules:
  - alert: NaN
    detector: nan
  - alert: High
    detector: threshold
    inputs: {value: {role: train_loss}}
    params: {above: 50}
"""


class Lives:
    """Services on one state directory, one after the other, and the trainings they watch."""

    def __init__(self, home: Path, slack: FakeSlack) -> None:
        self.home, self.slack = home, slack
        self.logs: list[EventLog] = []
        (home / "logs").mkdir()
        (home / "token").write_text(slack.token)
        (home / "token").chmod(0o600)
        (home / "pack.yaml").write_text(PACK)
        config = home / "config.toml"
        config.write_text(
            f'state_dir = "state"\npoll_interval = "200ms"\ncheckpoint_every = "1s"\n'
            f'log_level = "error"\n[[roots]]\npath = "logs"\n[rules]\npacks = ["pack.yaml"]\n'
            f'[receivers.slack]\ntype = "slack"\nchannel = "C0000000001"\ntoken_file = "token"\n'
            f'api_url = "{slack.api}"\n[route]\nreceiver = "slack"\n'
        )
        self._nursery = subprocess.Popen(
            [sys.executable, "-m", "tests.crash_service", str(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._said() == "ready"

    def _said(self) -> str:
        assert self._nursery.stdout is not None
        return self._nursery.stdout.readline().strip()

    def begin(self, place: str = "-", nth: int = 1) -> int:
        assert self._nursery.stdin is not None
        self._nursery.stdin.write(f"{place} {nth}\n")
        self._nursery.stdin.flush()
        return int(self._said())

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        assert os.WTERMSIG(int(self._said())) == signal.SIGKILL

    def wait_killed(self) -> None:
        assert os.WTERMSIG(int(self._said())) == signal.SIGKILL

    def close(self) -> None:
        for log in self.logs:
            log.close()
        assert self._nursery.stdin is not None
        self._nursery.stdin.close()
        self._nursery.wait(PATIENCE)
        assert self._nursery.stdout is not None
        self._nursery.stdout.close()

    def goes_wrong(self, name: str) -> None:
        """Begin a training whose loss turns NaN."""
        log = EventLog(self.home / "logs" / name, start=time.time())
        for step in range(12):
            log.add(step, {"train/loss": float("nan") if step > 8 else 1.0}, time.time())
        log.close()

    def rises(self, name: str) -> EventLog:
        """Begin a training whose loss is too high for now."""
        log = EventLog(self.home / "logs" / name, start=time.time())
        for step in range(12):
            log.add(step, {"train/loss": 90.0 if step > 8 else 1.0}, time.time())
        self.logs.append(log)
        return log

    def firsts(self) -> list[dict]:
        return [m for m in list(self.slack.messages) if "thread_ts" not in m]

    def settled(self, runs: int) -> bool:
        """Whether as many messages stand in the channel, each with its chart."""
        firsts = self.firsts()
        return len(firsts) >= runs and all("image" in _kinds(m) for m in firsts)

    def wait(self, until: Callable[[], object]) -> None:
        wait(until, PATIENCE, lambda: [_title(m) for m in self.firsts()])


def _kinds(message: dict) -> list[str]:
    return [block["type"] for block in message["blocks"]]


def _title(message: dict) -> str:
    return message["blocks"][0]["text"]["text"]


def _over(message: dict) -> bool:
    """Whether it says that it is over; of what a kill hid until then, that it came and went."""
    return any(words in _title(message) for words in ("Resolved", "Came and went"))


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[Lives]:
    with FakeSlack() as slack:
        made = Lives(tmp_path, slack)
        try:
            yield made
        finally:
            made.close()


def test_a_kill_at_any_place_loses_nothing_and_doubles_nothing(lives: Lives) -> None:
    """Each place in turn: a training goes wrong, and another one rises and falls again."""
    calm = None
    for i, place in enumerate(PLACES):
        if calm is not None:
            calm.add(20, {"train/loss": 1.0}, time.time())
        lives.begin(place)
        lives.goes_wrong(f"nan{i}")
        calm = lives.rises(f"high{i}")
        if place == "after putting a chart off":
            lives.slack.faults.append(Fault("error", name="internal_error", method="files.info"))
        lives.wait_killed()
    last = lives.begin()
    lives.wait(lambda: lives.settled(2 * len(PLACES)))
    _check(lives, len(PLACES), resolved=len(PLACES) - 1)
    lives.kill(last)


def test_kills_at_random_moments_while_many_trainings_go_wrong(
    lives: Lives, pytestconfig: pytest.Config
) -> None:
    kills = int(pytestconfig.getoption("--kills"))
    random, runs = Random(kills), max(6, min(100, kills * 2 // 5))
    begun = ended = 0
    for i in range(kills):
        pid = lives.begin()
        until = time.monotonic() + random.uniform(0.02, 1.6)
        while time.monotonic() < until:
            if begun < runs * (i + 1) / kills:
                lives.goes_wrong(f"nan{begun}")
                lives.rises(f"high{begun}")
                begun += 1
            if ended < begun - 3:
                lives.logs[ended].add(20, {"train/loss": 1.0}, time.time())
                ended += 1
            time.sleep(0.01)
        lives.kill(pid)
    while begun < runs:
        lives.goes_wrong(f"nan{begun}")
        lives.rises(f"high{begun}")
        begun += 1
    last = lives.begin()
    lives.wait(lambda: lives.settled(2 * runs))
    for log in lives.logs[ended:]:
        log.add(20, {"train/loss": 1.0}, time.time())
    lives.wait(lambda: sum(_over(m) for m in lives.firsts()) >= runs)
    _check(lives, runs, resolved=runs)
    lives.kill(last)


def _check(lives: Lives, each: int, resolved: int) -> None:
    """Each alert stands there once, with its chart and its final state."""
    lives.wait(lambda: sum(_over(m) for m in lives.firsts()) >= resolved)
    firsts = lives.firsts()
    runs = Counter(m["text"].split(" · ")[1] for m in firsts)
    assert runs == Counter(f"{kind}{i}" for kind in ("nan", "high") for i in range(each))
    assert all(_kinds(m).count("image") == 1 for m in firsts)
    assert sum("NaN" in _title(m) and "Critical" in _title(m) for m in firsts) == each
    assert sum(_over(m) and _title(m).endswith(": High") for m in firsts) == resolved
    replies = Counter(m["metadata"]["event_payload"]["id"] for m in lives.slack.messages)
    assert max(replies.values()) == 1

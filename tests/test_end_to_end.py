"""The program as it is run: real processes, TensorBoard's own writer, kills, removed runs."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.logs import EventLog
from tests.source.faults import compiled
from tests.waiting import wait
from watcher.notify.fake_slack import FakeSlack

WATCHER = [sys.executable, "-m", "watcher"]
PATIENCE = 40.0  # seconds until a wait is given up; never decides what is right

WRITER = """
import sys, time
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

logdir, steps, nan_from = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
writer = EventFileWriter(logdir, flush_secs=1)
for step in range(steps):
    value = float("nan") if step >= nan_from else 2 * 0.97**step
    summary = Summary(value=[Summary.Value(tag="train/loss", simple_value=value)])
    writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
    writer.flush()
    time.sleep(0.05)
"""

PACK = """
rules:
  - alert: NaN
    detector: nan
  - alert: Stalled
    detector: stalled
    params: {min_silence: 4}
"""


class Service:
    """One service process on a state directory; what it says is kept line by line."""

    def __init__(self, home: Path, env: dict[str, str] | None = None) -> None:
        self.home, self.lines, self.env = home, [], env
        (home / "logs").mkdir(exist_ok=True)
        (home / "pack.yaml").write_text(PACK)
        (home / "config.toml").write_text(
            f'state_dir = "{home / "state"}"\npoll_interval = "1s"\nmin_silence = "4s"\n'
            f'[[roots]]\npath = "{home / "logs"}"\n[rules]\npacks = ["{home / "pack.yaml"}"]\n'
            '[receivers.terminal]\ntype = "console"\n[route]\nreceiver = "terminal"\n'
        )

    def start(self) -> None:
        command = [*WATCHER, "run", "-c", str(self.home / "config.toml")]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.env
        )
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        self.wait(lambda: self.said("watching roots="))

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line)
        self.process.stdout.close()

    def stop(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        code = self.process.wait(PATIENCE)
        self.reader.join()
        return code

    def said(self, *words: str) -> list[str]:
        return [line for line in self.lines if all(word in line for word in words)]

    def wait(self, until: Callable[[], object]) -> None:
        def holds() -> bool:
            held = bool(until())
            assert held or self.process.poll() is None, "".join(self.lines)
            return held

        wait(holds, PATIENCE, lambda: "".join(self.lines))

    def train(self, run: str, steps: int, nan_from: int = 10_000) -> None:
        logdir = str(self.home / "logs" / run)
        command = [sys.executable, "-c", WRITER, logdir, str(steps), str(nan_from)]
        subprocess.run(command, check=True)

    def alerts(self) -> dict[tuple[str, str], str]:
        config = str(self.home / "config.toml")
        command = [*WATCHER, "alerts", "-c", config, "--format", "json"]
        shown = subprocess.run(command, capture_output=True, text=True, check=False)
        return {(a["run"], a["alert"]): a["state"] for a in json.loads(shown.stdout)}

    def status(self) -> str:
        command = [*WATCHER, "status", "-c", str(self.home / "config.toml")]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@pytest.fixture
def service(tmp_path):
    made = Service(tmp_path)
    made.start()
    yield made
    if made.process.poll() is None:
        made.stop(signal.SIGKILL)


def test_nothing_is_lost_or_said_twice_over_kills_stalls_and_ends(service):
    service.train("a", 20, nan_from=12)
    service.wait(lambda: service.said("CRITICAL", "NaN", "step 12"))
    service.stop(signal.SIGKILL)
    service.train("b", 20)
    service.start()
    service.wait(lambda: service.said("Stalled", " b "))
    assert len(service.said("CRITICAL", "NaN", " a ")) == 1
    assert service.alerts() == {("a", "NaN"): "firing", ("b", "Stalled"): "firing"}

    service.train("c", 20)
    (service.home / "logs" / "c" / "DONE").touch()
    shutil.rmtree(service.home / "logs" / "a")
    service.wait(lambda: service.said("ENDED WHILE FIRING", " a "))
    time.sleep(5)  # longer than a silence that counts as a stall
    assert service.stop(signal.SIGTERM) == 0
    assert not service.said("Stalled", " c ")
    assert not service.said("RESOLVED")
    assert not service.said("Traceback")
    assert service.alerts()["a", "NaN"] == "ended"


@pytest.mark.parametrize("gone", ["removed", "moved away"])
def test_a_service_whose_state_is_gone_says_so_and_stops(service, gone):
    service.train("a", 20, nan_from=12)
    service.wait(lambda: service.said("CRITICAL", "NaN", " a "))
    state = service.home / "state"
    if gone == "removed":
        shutil.rmtree(state)
    else:
        state.rename(service.home / "elsewhere")
    assert service.process.wait(PATIENCE) == 2
    service.reader.join()
    (said,) = service.said("the state was removed or replaced")
    assert str(state) in said
    assert not service.said("Traceback")
    assert not state.exists()


def test_a_clock_that_is_set_stops_nothing_and_makes_no_run_stall(tmp_path):
    library = compiled(tmp_path, Path(__file__).with_name("set_clock.c"))
    off = tmp_path / "off"
    off.write_text("0")
    service = Service(tmp_path, os.environ | {"LD_PRELOAD": str(library), "CLOCK_OFF": str(off)})
    service.start()
    log, steps = EventLog(tmp_path / "logs" / "live"), itertools.count()

    def trains_until(*words: str) -> None:
        def said() -> object:
            log.add(next(steps), {"train/loss": 1.0}, time.time())
            return service.said(*words)

        service.wait(said)

    try:
        log.add(next(steps), {"train/loss": 1.0}, time.time())
        service.train("before", 20, nan_from=12)
        trains_until("CRITICAL", "NaN", "before")
        for number, seconds in enumerate((1800, -7200, 0)):
            off.write_text(str(seconds))
            trains_until("the clock was set by", f"{seconds - (0, 1800, -7200)[number]:+d} s")
            nan = EventLog(tmp_path / "logs" / f"after{number}")
            nan.add(0, {"train/loss": float("nan")}, time.time())
            nan.close()
            trains_until("CRITICAL", "NaN", f"after{number}")
        log.close()
        assert not service.said("Stalled", "live")
    finally:
        service.stop(signal.SIGKILL)


def test_a_dead_slack_delays_nobody_and_hears_of_it_once_when_it_is_back(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    service = Service(tmp_path)
    config, token = tmp_path / "config.toml", tmp_path / "token"
    token.write_text("xoxb-fake")
    token.chmod(0o600)
    text, _, _ = config.read_text().partition("[route]")
    config.write_text(
        f'{text}[receivers.slack]\ntype = "slack"\nchannel = "C0000000001"\n'
        f'token_file = "{token}"\napi_url = "http://127.0.0.1:{port}/api/"\n'
        '[route]\nreceiver = "terminal"\n[[route.routes]]\nreceiver = "slack"\ngo_on = true\n'
        '[[route.routes]]\nreceiver = "terminal"\n'
    )
    service.start()
    try:
        service.train("a", 20, nan_from=12)
        service.wait(lambda: service.said("CRITICAL", "NaN"))
        service.train("b", 20, nan_from=12)
        service.wait(lambda: service.said("CRITICAL", "NaN", " b "))
        assert service.said("not sent", "receiver=slack")
        with FakeSlack(port=port) as slack:
            service.wait(lambda: len(slack.texts()) >= 2)
            assert service.stop(signal.SIGTERM) == 0
            told = slack.texts()
        assert sorted("· a ·" in line for line in told) == [False, True]
        assert "xoxb" not in "".join(service.lines)
    finally:
        if service.process.poll() is None:
            service.stop(signal.SIGKILL)


def test_a_second_service_on_the_same_state_is_refused(service):
    config = str(service.home / "config.toml")
    second = subprocess.run(
        [*WATCHER, "run", "-c", config], capture_output=True, text=True, check=False
    )
    assert second.returncode == 2
    assert "in use by another watcher" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert service.stop(signal.SIGINT) == 0


def test_the_status_tells_a_service_that_runs_and_a_root_that_is_gone(service):
    service.train("a", 20, nan_from=12)
    service.wait(lambda: service.said("CRITICAL", "NaN"))
    assert "NOT RUNNING" not in service.status()
    logs = service.home / "logs"
    logs.rename(service.home / "elsewhere")
    service.wait(lambda: service.said("root unreachable", str(logs)))
    service.wait(lambda: "UNREACHABLE" in service.status())
    (service.home / "elsewhere").rename(logs)
    service.wait(lambda: service.said("root read again"))
    service.wait(lambda: "UNREACHABLE" not in service.status())
    assert service.stop(signal.SIGTERM) == 0
    assert service.status().startswith("NOT RUNNING")


def test_a_broken_pack_leaves_the_last_good_rules_in_force(service):
    (service.home / "pack.yaml").write_text(PACK.replace("detector: nan", "detector: nann"))
    service.process.send_signal(signal.SIGHUP)
    service.wait(lambda: service.said("not reloaded", "nann"))
    service.train("a", 20, nan_from=12)
    service.wait(lambda: service.said("CRITICAL", "NaN"))
    (service.home / "pack.yaml").write_text(PACK)
    service.wait(lambda: service.said("reloaded rules=2"))
    assert service.stop(signal.SIGTERM) == 0

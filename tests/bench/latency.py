"""How long from bytes on disk to Slack? A whole service, a thousand runs writing, a stand-in.

    python tests/bench/latency.py [--runs 1000] [--poll 5] [--seconds 120] [--every 2]

Every run writes a point each ``--poll`` seconds; every ``--every`` seconds the loss of one more
turns NaN. Prints the times from the flush of that point to the stand-in's receipt of the message.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from random import Random

_REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_REPO))

from tests.logs import EventLog
from watcher.config import load_config
from watcher.daemon import ready
from watcher.notify.fake_slack import FakeSlack


def main() -> None:
    """Print median, 99th percentile and maximum."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--poll", type=float, default=5.0)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--every", type=float, default=2.0)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, FakeSlack() as slack:
        took = measured(Path(home), slack, wanted)
    took.sort()
    worst = took[min(len(took) - 1, int(0.99 * len(took)))]
    print(
        f"{wanted.runs} runs writing every {wanted.poll:g} s, polled every {wanted.poll:g} s, "
        f"{len(took)} faults: median {statistics.median(took):.2f} s, 99th percentile "
        f"{worst:.2f} s, longest {took[-1]:.2f} s (goal {wanted.poll + 1:g} s)"
    )


def measured(home: Path, slack: FakeSlack, wanted: argparse.Namespace) -> list[float]:
    """Run a service while logs grow; return the seconds that each fault took."""
    (home / "token").write_text(slack.token)
    (home / "token").chmod(0o600)
    config = home / "config.toml"
    config.write_text(
        f'state_dir = "state"\npoll_interval = "{wanted.poll:g}s"\nlog_level = "error"\n'
        '[[roots]]\npath = "logs"\n[receivers.slack]\ntype = "slack"\n'
        f'channel = "C0000000001"\ntoken_file = "token"\napi_url = "{slack.api}"\n'
        '[route]\nreceiver = "slack"\n'
    )
    names = [f"group{i % 20:02}/run{i:04}" for i in range(wanted.runs)]
    arrived: dict[str, float] = {}

    def note(message: dict[str, object]) -> None:
        for word in str(message["text"]).split():
            if word.startswith("group"):
                arrived.setdefault(word, time.monotonic())

    slack.on_message = note
    paths = {name: begin(home / "logs" / name) for name in names}
    with ready(load_config(config), config) as service, service.running():
        time.sleep(2 * wanted.poll)
        written = write(paths, wanted)
        time.sleep(2 * wanted.poll)
    return [arrived.get(name, float("inf")) - at for name, at in written.items()]


def begin(directory: Path) -> Path:
    """Write the first points of a run; return its event file."""
    log = EventLog(directory, time.time() - 60)
    for step in range(20):
        log.add(step, {"train/loss": 2.0 - 0.01 * step, "lr": 1e-3}, time.time() - 60 + step)
    log.close()
    return log.path


def write(paths: dict[str, Path], wanted: argparse.Namespace) -> dict[str, float]:
    """Let every run write; return when each of those that turn NaN did so."""
    random, points = Random(1), Points()
    sick = random.sample(sorted(paths), int(wanted.seconds / wanted.every))
    bad: set[str] = set()
    turned: dict[str, float] = {}
    stop = threading.Event()

    def grow() -> None:
        step = 20
        while not stop.is_set():
            began = time.monotonic()
            for i, (name, path) in enumerate(paths.items()):
                pause = began + wanted.poll * i / len(paths) - time.monotonic()
                if pause > 0.02 and stop.wait(pause):
                    return
                if name not in bad:
                    points.add(path, step, 1.8)
            step += 1

    writer = threading.Thread(target=grow)
    writer.start()
    for name in sick:
        time.sleep(wanted.every)
        bad.add(name)
        points.add(paths[name], 1_000, float("nan"))
        turned[name] = time.monotonic()
    stop.set()
    writer.join()
    return turned


class Points:
    """Appends single points to event files, opened for each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def add(self, path: Path, step: int, value: float) -> None:
        """Append one event and flush it."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        summary = Summary(value=[Summary.Value(tag="train/loss", simple_value=value)])
        event = Event(wall_time=time.time(), step=step, summary=summary)
        with self._lock, path.open("ab") as file:
            RecordWriter(file).write(event.SerializeToString())
            file.flush()
            os.fsync(file.fileno())


if __name__ == "__main__":
    main()

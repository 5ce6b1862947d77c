"""A week of a cluster in minutes: runs appear, grow, crash, resume and vanish, roots come and go.

    python tests/bench/week.py [--runs 10000] [--minutes 10] [--keep 2] [--seed 1]

Drives the service's own engine, source and store by a manual clock over real files, and says once
a simulated day what it holds. With ``--keep`` a run's directory is removed so many days after its
end, as scratch space is cleaned: then as many runs go as come, and what is held must not grow.
Raises if a run or a point is lost, or a descriptor stays open.
"""

from __future__ import annotations

import argparse
import gc
import logging
import math
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.clocks import ManualClock
from tests.source.growing import scalar
from watcher.engine import Engine, restore
from watcher.model import RunKey
from watcher.pipeline import Plan
from watcher.routing import Route
from watcher.rules import default_rules
from watcher.source.logdir import Logdir
from watcher.store import Store

T0 = 1_700_000_000.0
DAY = 86400.0
_NOTICED = 40  # polls; a run that came and vanished within so many may never be seen


@dataclass
class Training:
    """One training: what its writer has written so far, and when it stops."""

    root: str
    name: str
    begins: int  # poll
    ends: int
    fate: str  # quiet, resume, vanish, crash
    lr: float
    step: int = 0
    files: int = 1
    points: dict[str, int] = field(default_factory=dict)  # by event file
    gone: bool = False
    gone_at: float = math.inf

    @property
    def directory(self) -> Path:
        return Path(self.root) / self.name

    def write(self, now: float, random_: random.Random) -> None:
        """Append what one poll interval brings."""
        name = f"events.out.tfevents.{int(T0) + self.files:010d}.host"
        rows = []
        for _ in range(random_.randint(1, 4)):
            self.step += 10
            loss = 0.1 + math.exp(-self.lr * self.step) + random_.gauss(0, 0.01)
            rows += [
                scalar("train/loss", self.step, loss, now),
                scalar("lr", self.step, 1e-3, now),
                scalar("val/loss", self.step, loss * 1.1, now),
            ]
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / name).open("ab") as out:
            out.write(b"".join(rows))
        self.points[name] = self.points.get(name, 0) + len(rows)


class Week:
    """The cluster and the service that follows it."""

    def __init__(self, home: Path, runs: int, polls: int, keep: float, seed: int) -> None:
        self.keep = keep * polls / 7  # polls
        self.over: list[tuple[float, Training]] = []  # and the poll at which it is cleaned away
        self.random = random.Random(seed)
        self.roots = [str(home / name) for name in ("a", "b")]
        for root in self.roots:
            Path(root).mkdir(parents=True)
        self.clock, self.polls = ManualClock(T0), polls
        self.store = Store.open(home / "state")
        sources = {root: Logdir([root]) for root in self.roots}
        roots = restore(self.roots, sources, self.store.load(), None)
        plan = Plan(default_rules())
        self.engine = Engine(roots, plan, (Route("console"),), self.store, self.clock, {})
        self.trainings = [self._training(i, polls) for i in range(runs)]
        self.trainings.sort(key=lambda one: one.begins)
        self.away: dict[str, int] = {}  # root -> poll at which it is back

    def _training(self, i: int, polls: int) -> Training:
        begins = self.random.randrange(max(1, polls - 20))
        lasts = self.random.randint(1, max(2, polls // 20))
        fate = self.random.choices(["quiet", "resume", "vanish", "crash"], [6, 2, 1, 1])[0]
        root = self.random.choice(self.roots)
        name = f"team{i % 7}/run{i:05d}"
        return Training(root, name, begins, begins + lasts, fate, 0.002)

    def live(self) -> Iterator[int]:
        """Let the week pass; yield after each poll."""
        waiting, alive = list(reversed(self.trainings)), list[Training]()
        for poll in range(self.polls):
            self._roots(poll)
            while waiting and waiting[-1].begins <= poll:
                alive.append(waiting.pop())
            alive = [one for one in alive if self._go_on(one, poll)]
            self._clean(poll)
            self.clock.advance(7 * DAY / self.polls)
            for root in self.roots:
                self.engine.poll(root)
            yield poll
        for root in list(self.away):
            self._back(root)

    def settle(self) -> None:
        """Give the service a few looks at files that do not change any more."""
        for _ in range(45):
            self.clock.advance(60.0)
            for root in self.roots:
                self.engine.poll(root)

    def _go_on(self, one: Training, poll: int) -> bool:
        """Let a training write, or end as it is fated to; whether it is alive."""
        if one.root in self.away:
            return True  # its writes fail, and it waits
        if poll < one.ends:
            one.write(self.clock.now(), self.random)
            return True
        if one.fate == "vanish":
            self._remove(one)
        elif one.fate == "crash":
            newest = max(one.directory.glob("*tfevents*"), default=None)
            if newest is not None:
                with newest.open("ab") as out:
                    out.write(scalar("train/loss", 1, 1.0)[:-7])
        elif one.fate == "resume":
            one.fate, one.files = "quiet", one.files + 1
            one.step = max(0, one.step - 20)
            one.ends = poll + self.random.randint(2, 40)
            return True
        if not one.gone:
            self.over.append((poll + self.keep, one))
        return False

    def _remove(self, one: Training) -> None:
        shutil.rmtree(one.directory, ignore_errors=True)
        one.gone, one.gone_at = True, self.clock.now()

    def _clean(self, poll: int) -> None:
        """Remove what ended long enough ago."""
        due = [one for when, one in self.over if when <= poll and one.root not in self.away]
        for one in due:
            self._remove(one)
        self.over = [(when, one) for when, one in self.over if not one.gone]

    def _roots(self, poll: int) -> None:
        """Let a root go away now and then, and come back."""
        for root, until in list(self.away.items()):
            if poll >= until:
                self._back(root)
        if poll % max(1, self.polls // 9) == 5 and not self.away:
            root = self.random.choice(self.roots)
            Path(root).rename(f"{root}.away")
            self.away[root] = poll + self.random.randint(1, 6)

    def _back(self, root: str) -> None:
        Path(f"{root}.away").rename(root)
        del self.away[root]

    # ---------------------------------------------------------------- what must hold

    def check(self) -> None:
        """Raise if a run or a point was lost, or one is held that is not there."""
        rows = {row.run: row for row in self.store.list_runs()}
        for one in self.trainings:
            if not one.points:
                continue
            row = rows.get(RunKey(one.root, one.name))
            if row is None and one.gone and one.ends - one.begins < _NOTICED:
                continue
            assert row is not None, f"{one.name} is lost"
            assert (row.state.value == "gone") == one.gone, f"{one.name} is {row.state}"
            assert one.gone or self._read(one) == one.points, f"{one.name} misses points"

    def _read(self, one: Training) -> dict[str, int]:
        """Return how many points of each file the source has given out."""
        source = self.engine.roots[one.root].source
        run = source._roots[one.root].runs[str(one.directory)]
        return {name: cursor.points for name, cursor in run.cursors.items()}

    def close(self) -> None:
        self.store.close()


def descriptors() -> int:
    """Count the open files of this process."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def rss() -> float:
    """Return the resident size in MB, now."""
    gc.collect()
    with open("/proc/self/statm") as statm:  # noqa: PTH123
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Print a line a day."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=10.0, help="between polls")
    parser.add_argument("--keep", type=float, default=math.inf, help="days after a run's end")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    logging.disable()
    polls = round(7 * 24 * 60 / wanted.minutes)
    begun, open_files = time.monotonic(), descriptors()
    with tempfile.TemporaryDirectory() as home:
        week = Week(Path(home), wanted.runs, polls, wanted.keep, wanted.seed)
        for poll in week.live():
            if poll % max(1, polls // 14) == 0:
                held = sum(len(root.state.runs) for root in week.engine.roots.values())
                print(
                    f"day {7 * poll / polls:4.1f}  {held:6d} runs  {rss():7.1f} MB  "
                    f"{descriptors() - open_files:3d} descriptors  "
                    f"{time.monotonic() - begun:6.0f} s"
                )
        week.settle()
        week.check()
        print(f"nothing lost; {rss():.1f} MB, {time.monotonic() - begun:.0f} s")
        week.close()


if __name__ == "__main__":
    main()

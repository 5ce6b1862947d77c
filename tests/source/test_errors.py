"""What a failing disk does: errors below the reader, short reads, hung calls, what it asks for."""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.source.faults import NAMED, BadDisk, Reader
from tests.source.growing import GrowingFile
from tests.source.test_logdir import steps
from watcher.model import Health, Poll
from watcher.source.logdir import SourceOptions
from watcher.source.mounts import is_local

NOW = time.time()


class House:
    """A root with a run that is to suffer and one that must not, a bad disk and a reader."""

    def __init__(self, library: Path, tmp: Path) -> None:
        self.root = tmp / "root"
        self.bad = GrowingFile(self.root / "bad").scalars("a", range(2))
        self.good = GrowingFile(self.root / "good").scalars("a", range(2))
        self.disk = BadDisk(library, tmp, self.root)
        self.reader = Reader(self.disk, self.root, options=SourceOptions(longest_rest=0.0))
        self.now = NOW

    def poll(self, seconds: float = 1.0) -> Poll:
        self.now += seconds
        return self.reader.poll(self.now)

    def ailments(self, poll: Poll) -> list[tuple[str, str]]:
        return [(os.path.relpath(a.path, self.root), a.health.value) for a in poll.ailments]


@pytest.fixture
def house(faults: Path, tmp_path: Path) -> Iterator[House]:
    made = House(faults, tmp_path)
    yield made
    made.reader.close()


@pytest.mark.parametrize("call", ["open", "pread", "fstat"])
def test_r8_each_error_has_its_name_a_back_off_and_an_end(house: House, call: str) -> None:
    bad = os.path.relpath(house.bad.path, house.root)
    house.poll()
    for number, name in NAMED.items():
        fault = house.disk.on(call, number, house.bad.path)
        for file in (house.bad, house.good):
            file.scalars("a", range(2, 3))
        poll = house.poll()
        assert steps(poll) == {"good": [2]}
        assert house.ailments(poll) == [(bad, name)]
        house.disk.calls()
        for _ in range(25):
            assert house.poll().ailments == ()
        assert not [path for _, _, path in house.disk.calls() if path == str(house.bad.path)]
        house.disk.off(fault)
        poll = house.poll(1000.0)
        assert steps(poll) == {"bad": [2]}
        assert house.ailments(poll) == [(bad, "ok")]


def test_r8_a_stale_handle_is_opened_once_more(house: House) -> None:
    house.poll()
    house.bad.scalars("a", range(2, 4))
    house.disk.on("pread", errno.ESTALE, house.bad.path, times=1)
    poll = house.poll()
    assert (steps(poll), poll.ailments) == ({"bad": [2, 3]}, ())
    opened = [path for call, _, path in house.disk.calls() if call == "open"]
    assert opened.count(str(house.bad.path)) == 3  # at first, and twice now


def test_r8_pauses_grow_while_an_error_lasts(house: House) -> None:
    house.poll()
    house.disk.on("open", errno.EIO, house.bad.path)
    house.bad.scalars("a", range(2, 4))
    house.disk.calls()
    tried = []
    for second in range(0, 3600, 10):
        house.poll(10.0)
        if any(path == str(house.bad.path) for _, _, path in house.disk.calls()):
            tried.append(second)
    pauses = [b - a for a, b in itertools.pairwise(tried)]
    assert pauses[:5] == sorted(pauses[:5])
    assert pauses[0] <= 60
    assert pauses[-1] >= 600
    assert len(tried) < 15


def test_r8_a_file_that_fails_once_and_did_not_grow_is_well_again(house: House) -> None:
    house.poll()
    house.disk.on("stat", errno.EIO, house.bad.path, times=1)
    assert [health for _, health in house.ailments(house.poll())] == ["input/output error"]
    assert [health for _, health in house.ailments(house.poll(1000.0))] == ["ok"]


@pytest.mark.parametrize("call", ["opendir", "readdir"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_r8_a_directory_that_cannot_be_listed_hides_no_other(
    house: House, call: str, number: int
) -> None:
    house.poll()
    fault = house.disk.on(call, number, house.root / "bad")
    os.utime(house.root / "bad", (1, 1))
    house.bad.scalars("a", range(2, 3))  # a file that is known is read all the same
    GrowingFile(house.root / "new").scalars("a", range(2))
    poll = house.poll()
    assert steps(poll) == {"bad": [2], "new": [0, 1]}
    assert house.ailments(poll) == [("bad", NAMED[number])]
    house.disk.off(fault)
    GrowingFile(house.root / "bad", "events.out.tfevents.1800000000").scalars("b", range(1))
    poll = house.poll(1000.0)
    assert (steps(poll), house.ailments(poll)) == ({"bad": [0]}, [("bad", "ok")])


def test_r13_a_root_that_cannot_be_listed_is_unreachable_and_nothing_is_gone(
    house: House,
) -> None:
    house.poll()
    for call in ("stat", "opendir", "readdir"):
        fault = house.disk.on(call, errno.EIO, house.root)
        os.utime(house.root)
        polls = [house.poll() for _ in range(3)]
        assert list(polls[-1].unreachable) == [str(house.root)]
        assert not [batch for poll in polls for batch in poll.batches]
        assert not [a for poll in polls for a in poll.ailments if a.path != str(house.root)]
        house.disk.off(fault)
        poll = house.poll(1000.0)
        assert (poll.batches, poll.unreachable) == ((), {})


def test_r3_a_short_read_loses_nothing(house: House) -> None:
    house.poll()
    house.disk.on("pread", "short", house.good.path, times=4)  # the fourth is of the records
    house.good.scalars("a", range(2, 500))
    assert steps(house.poll()) == {"good": list(range(2, 500))}
    house.disk.on("pread", "short", house.bad.path, times=20)
    house.bad.scalars("a", range(2, 500))
    found = [step for _ in range(12) for step in steps(house.poll()).get("bad", [])]
    assert found == list(range(2, 500))


def test_r4_a_short_read_is_no_damage(house: House) -> None:
    at = house.bad.scalars("a", range(2, 100)).size
    size = house.bad.scalars("a", range(100, 101)).size - at
    house.bad.scalars("a", range(101, 500)).damage(at + 30)
    house.disk.on("pread", "short", house.bad.path, times=20)
    polls = [house.poll(700.0) for _ in range(40)]
    found = [step for poll in polls for step in steps(poll).get("bad", [])]
    assert found == [*range(100), *range(101, 500)]
    lost = [a.skipped_bytes for poll in polls for a in poll.ailments if a.health is Health.DAMAGED]
    assert sum(lost) == size


def test_r1_files_are_opened_to_read_only_without_blocking_and_nothing_else_is_done(
    house: House,
) -> None:
    for seconds in (0.0, 1.0, 700.0):
        house.bad.scalars("a", range(3)).damage(30)
        house.poll(seconds)
    calls = house.disk.calls()
    wanted = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    files = [flags for call, flags, path in calls if call == "open" and "tfevents" in path]
    assert files
    assert {flags & ~os.O_LARGEFILE for flags in files} == {wanted}
    assert {call for call, _, _ in calls} <= {
        *("open", "fstat", "pread", "close", "stat", "lstat", "opendir", "readdir")
    }
    known = set(house.root.rglob("*"))
    assert known == {*known, house.bad.path, house.good.path}


def test_r2_a_grown_file_is_opened_asked_read_and_closed_and_no_two_at_once(
    house: House,
) -> None:
    house.poll()
    for i in range(2, 6):
        house.bad.scalars("a", range(i, i + 1))
        house.disk.calls()
        assert steps(house.poll()) == {"bad": [i]}
    mine = [call for call, _, path in house.disk.calls() if path == str(house.bad.path)]
    if is_local(str(house.root)):  # there its size is asked for first, and it grew
        assert mine.pop(0) == "stat"
    assert [*mine[:2], *mine[-1:]] == ["open", "fstat", "close"]
    assert mine[2:-1] in (["pread"] * n for n in (1, 2, 3))  # checksum, records, checksum
    house.good.scalars("a", range(2, 5))
    house.poll()
    house.bad.scalars("a", range(6, 7))
    house.good.scalars("a", range(6, 7))
    house.poll()
    at_once = most = 0
    for call, _, path in house.disk.calls():
        if "tfevents" in path:
            at_once += {"open": 1, "close": -1}.get(call, 0)
            most = max(most, at_once)
    assert (most, at_once) == (1, 0)


def test_an_idle_poll_makes_hardly_more_than_one_system_call_a_known_run(house: House) -> None:
    for i in range(1000):
        GrowingFile(house.root / f"team{i % 7}" / f"r{i}").scalars("a", range(1))
    for directory in (house.root, *house.root.iterdir(), *house.root.glob("*/r*")):
        os.utime(directory, (1000, 1000))  # settled long ago
    for _ in range(6):  # the first ones take on a few hundred runs each
        house.poll()
    house.disk.calls()
    for _ in range(4):
        assert house.poll().batches == ()
    assert len(house.disk.calls()) <= 4 * 1.05 * 1002

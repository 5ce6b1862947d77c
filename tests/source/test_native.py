"""The native scanner and the Python one say the same of every byte string, sound or broken."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from google_crc32c import value as crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.source.growing import GrowingFile, record, scalar
from tests.source.mutants import Maker
from watcher.model import Columns
from watcher.source import _scan_py, scan
from watcher.source.follow import Cursor, glimpsed, look
from watcher.source.framing import Scan, Stop

pytestmark = pytest.mark.skipif(
    not scan.BUILT, reason="the native scanner was not built; install with a C compiler"
)


def said(found: Scan) -> dict[str, object]:
    """Return all that a scan says, in a form that compares; a NaN is a NaN."""
    return columns(found.points) | {
        "stop": (found.stop, found.offset, found.unchecked),
        "odd": found.odd,
        "signs": (found.sessions, found.ends),
        "ignored": found.ignored,
    }


def columns(p: Columns) -> dict[str, object]:
    numbers = {
        name: np.where(np.isnan(column), np.nan, column).tobytes()
        for name, column in (("wall", p.wall_time), ("value", p.value))
    }
    return numbers | {
        "tags": p.tags,
        "tag": (p.tag.dtype, p.tag.tobytes()),
        "step": (p.step.dtype, p.step.tobytes()),
    }


class Pair:
    """One file in memory that both scanners read."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("events")

    def compare(self, data: bytes, cuts: list[int], known: dict[str, str]) -> None:
        """Read as a growing file is read, from cut to cut."""
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, data, 0)
        ours, theirs, offset = dict(known), dict(known), 0
        for size in [*cuts, len(data)]:
            a = scan.native_scan(self.fd, offset, size, ours)
            b = _scan_py.scan(self.fd, offset, size, theirs)
            assert said(a) == said(b)
            assert list(ours.items()) == list(theirs.items())
            offset = a.offset if a.offset < size or size == len(data) else size


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    both = Pair()
    yield both
    os.close(both.fd)


def test_broken_files_read_the_same(pair: Pair, mutations: range) -> None:
    for seed in mutations:
        maker = Maker(seed)
        data = maker.file()
        try:
            pair.compare(data, maker.cuts(len(data)), maker.plugins())
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


class Twins:
    """One file that is looked into with a glimpse first, and without one."""

    def __init__(self, fd: int) -> None:
        path = f"/proc/self/fd/{fd}"
        self.fd, self.now = fd, 1e9
        self.cursors, self.plugins = (Cursor(path), Cursor(path)), (dict[str, str](), {})

    def compare(self, data: bytes, grace: float) -> None:
        """Look into the file as it is now; then nothing is to tell them apart."""
        os.ftruncate(self.fd, len(data))
        os.pwrite(self.fd, data, 0)
        self.now += 400.0
        a, b = self.cursors
        [seen] = glimpsed([(a, self.plugins[0])])
        ours = look(a, self.plugins[0], self.now, grace, seen)
        theirs = look(b, self.plugins[1], self.now, grace)
        assert a == b
        assert list(self.plugins[0].items()) == list(self.plugins[1].items())
        assert ours is not None
        assert theirs is not None
        for name in ("starts", "finished", "anew", "grown", "seen_at", "ailments"):
            assert getattr(ours, name) == getattr(theirs, name)
        assert columns(ours.points) == columns(theirs.points)


@pytest.mark.skipif(sys.platform != "linux", reason="needs files in memory with a path")
def test_a_glimpse_of_a_broken_or_growing_file_brings_what_a_look_brings(
    pair: Pair, mutations: range
) -> None:
    for seed in mutations:
        maker = Maker(seed)
        data, twins = maker.file(), Twins(pair.fd)
        try:
            for size in [*maker.cuts(len(data)), len(data), len(data)]:
                twins.compare(data[:size], grace=600.0 * (seed % 3))
            twins.compare(data[: len(data) // 2], 600.0)  # cut
            twins.compare(b"x" + data[1:] + data, 600.0)  # and another file
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def test_a_glimpse_gives_up_what_needs_care(tmp_path: Path) -> None:
    ok, late, fifo = GrowingFile(tmp_path, "ok"), GrowingFile(tmp_path, "late"), tmp_path / "fifo"
    os.mkfifo(fifo)
    ok.scalars("a", range(3))
    late.scalars("a", range(3)).write(b"\1")
    names = [ok.path, tmp_path / "none", fifo, tmp_path, late.path, ok.path]
    open_before = set(Path("/proc/self/fd").iterdir())
    seen = scan.glimpses([(str(name), 0, 0, {}) for name in names])
    assert [one is not None for one in seen] == [True, False, False, False, False, True]
    assert set(Path("/proc/self/fd").iterdir()) == open_before
    for wrong in ([("a", 0, 0, {})], [(b"a", -1, 0, {})], [(b"a\0", 0, 0, {})], [()], 1):
        with pytest.raises((TypeError, ValueError)):
            scan._scan.glimpses(wrong)
    assert scan.glimpses([]) == []


def test_a_glimpse_of_many_files_keeps_to_its_bytes(tmp_path: Path) -> None:
    body = b"".join(scalar("a", i, i) for i in range(90_000))
    paths = [GrowingFile(tmp_path / f"r{i}").write(body).path for i in range(4)]
    seen = scan.glimpses([(str(path), 0, 0, {}) for path in paths])
    assert [one is not None for one in seen] == [True, False, False, False]


def test_real_files_read_the_same_from_any_offset(pair: Pair, shared_dir: Path) -> None:
    files = [p for p in (shared_dir / "corpus").rglob("*tfevents*") if p.is_file()]
    assert files
    for path in files:
        data = path.read_bytes()
        pair.compare(data, [], {})
        if len(data) < 1 << 18:
            pair.compare(data, [len(data) // 3, len(data) * 2 // 3], {})


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=20), st.integers(0, 4000), st.booleans())
def test_any_bytes_read_the_same(bodies: list[bytes], at: int, framed: bool) -> None:
    pair = Pair()
    data = b"".join(record(b) if framed else b for b in bodies)
    pair.compare(data, [min(at, len(data))], {})
    os.close(pair.fd)


def test_long_files_read_the_same_over_the_blocks_borders(pair: Pair) -> None:
    tags = ["a", "b" * 100, "c" * 1000, "d" * 20_000]
    data = b"".join(scalar(tags[i % 61 % 4], i, i) for i in range(2000))
    pair.compare(data, [100_000, 1_000_000], {})
    assert len(data) > 4 << 20


def test_hundreds_of_tags_keep_their_order_and_names(pair: Pair) -> None:
    data = b"".join(scalar(f"layer{i * 7919 % 3000}/norm", i, i) for i in range(9000))
    pair.compare(data, [], {})
    fd_points = scan.native_scan(pair.fd, 0, len(data), {}).points
    assert len(fd_points.tags) == 3000


def test_a_file_that_shrank_while_it_was_read_ends_in_a_tail(pair: Pair) -> None:
    data = scalar("a", 1, 1) * 10
    os.ftruncate(pair.fd, 0)
    os.pwrite(pair.fd, data, 0)
    for size in (len(data) + 5, len(data) + 500):
        found = scan.native_scan(pair.fd, 0, size, {})
        assert (found.stop, found.offset, len(found.points)) == (Stop.TAIL, len(data), 10)
        assert said(found) == said(_scan_py.scan(pair.fd, 0, size, {}))


def test_what_the_system_says_is_raised_as_oserror() -> None:
    for serves in (scan.native_scan, _scan_py.scan):
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            serves(9999, 0, 100, {})
        assert caught.value.errno == 9


@pytest.mark.parametrize("size", [*range(40), 3071, 3072, 3073, 10_007])
def test_checksums_are_the_same_with_and_without_the_processors_help(size: int) -> None:
    from watcher.source import _scan

    data = os.urandom(size)
    assert _scan.crc32c(data) == crc32c(data)
    assert _scan.crc32c(data, True) == crc32c(data)


@pytest.mark.parametrize(("count", "tags"), [(0, 0), (0, 3), (1, 1), (500, 7), (400_000, 40)])
def test_points_are_grouped_the_same(
    count: int, tags: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = np.random.default_rng(count)
    tag = drawn.integers(0, max(tags, 1), count).astype(np.int32)
    step, wall = np.arange(count), drawn.random(count)
    points = Columns(tuple(f"t{i}" for i in range(tags)), tag, step, wall, -wall)
    rank = drawn.permutation(tags).astype(np.int32)
    native = scan.grouped(points, rank)
    monkeypatch.setattr(scan, "SCANNER", "python")
    for ours, theirs in zip(native, scan.grouped(points, rank), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_cannot_be_grouped_is_refused() -> None:
    one = np.zeros(1, np.int32)
    for tag, rank in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        points = Columns(("a",), one + tag, np.zeros(1, np.int64), np.zeros(1), np.zeros(1))
        with pytest.raises(ValueError, match="a tag without rank"):
            scan.grouped(points, one + rank)


def test_loading_it_once_more_changes_nothing() -> None:
    from watcher.source import _scan

    data = os.urandom(10_000)
    spec = importlib.util.spec_from_file_location(_scan.__name__, _scan.__file__)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert _scan.crc32c(data) == crc32c(data)


@pytest.mark.parametrize(("asked", "serves"), [("python", "python (slower)"), ("", "native")])
def test_the_environment_may_ask_for_the_python_scanner(asked: str, serves: str) -> None:
    code = "from watcher.source import scan; print(scan.SCANNER, scan.described())"
    env = os.environ | {"WATCHER_SCANNER": asked}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.startswith(serves.split()[0])
    assert serves in done.stdout

"""Many run directories at once, in order."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.source.few_threads import few_threads
from tests.source.growing import GrowingFile
from watcher.source import ahead
from watcher.source.ahead import Readers, Visit, made
from watcher.source.follow import Cursor, News, look
from watcher.source.mounts import is_local

NOW, GRACE = 1e9, 600.0
NEAR, FAR = Readers(2), Readers(2, wait=True)


def visits(paths: list[Path]) -> list[Visit]:
    return [Visit(str(path), {path.name: Cursor(str(path))}, {}) for path in paths]


def files(tmp_path: Path, count: int, points: int = 3) -> list[Path]:
    return [GrowingFile(tmp_path / f"r{i}").scalars("a", range(i, i + points)).path
            for i in range(count)]  # fmt: skip


@pytest.mark.parametrize("readers", [NEAR, Readers(1, True), FAR, Readers(16, True)])
def test_visits_come_in_their_order_with_what_each_brought(
    tmp_path: Path, readers: Readers
) -> None:
    paths = files(tmp_path, 200)
    found = list(made(visits(paths), readers, NOW, GRACE))
    assert [visit.run for visit in found] == [str(path) for path in paths]
    for i, visit in enumerate(found):
        (news,) = visit.brought.values()
        assert isinstance(news, News)
        assert news.points.step.tolist() == [i, i + 1, i + 2]
        assert visit.cursors[paths[i].name].offset == paths[i].stat().st_size
        assert len(visit) == 3


def test_a_file_that_cannot_be_read_stops_no_other(tmp_path: Path) -> None:
    paths = files(tmp_path, 60)
    for path in paths[::7]:
        path.unlink()
    found = list(made(visits(paths), FAR, NOW, GRACE))
    failed = [i for i, visit in enumerate(found)
              if isinstance(*visit.brought.values(), FileNotFoundError)]  # fmt: skip
    assert failed == list(range(0, 60, 7))


def test_several_files_of_a_run_are_read_one_after_the_other(tmp_path: Path) -> None:
    """What an earlier file says of a tag's plugin is known to the later ones."""
    many = [tmp_path / f"r{i}" for i in range(40)]
    line = []
    for directory in many:
        names = [f"events.out.tfevents.{n}" for n in (1, 2)]
        cursors = {n: Cursor(str(GrowingFile(directory, n).scalars("a", range(2)).path))
                   for n in names}  # fmt: skip
        line.append(Visit(str(directory), cursors, {}))
    assert [list(v.brought) for v in made(line, FAR, NOW, GRACE)] == [
        ["events.out.tfevents.1", "events.out.tfevents.2"]
    ] * 40


def test_little_is_read_ahead_of_what_is_taken_where_runs_are_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "_ENOUGH", 10)
    drawn = 0

    def line() -> Iterator[Visit]:
        nonlocal drawn
        for visit in visits(files(tmp_path, 60, points=20)):
            drawn += 1
            yield visit

    for taken, _ in enumerate(made(line(), FAR, NOW, GRACE), 1):
        assert drawn - taken <= 4
    assert taken == 60


def test_as_many_are_visited_at_once_as_there_are_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = threading.Barrier(4)

    def waits(cursor: Cursor, *rest: Any) -> News | None:
        if threading.current_thread() is not threading.main_thread():
            here.wait(30)  # breaks unless four come
        return look(cursor, *rest)

    monkeypatch.setattr(ahead, "_CHUNK", 1)
    monkeypatch.setattr("watcher.source.follow.look", waits)
    assert (
        len(list(made(visits(files(tmp_path, 8 + 40)), Readers(4, wait=True), NOW, GRACE))) == 48
    )


@pytest.mark.parametrize("to_be_had", [0, 1, 3])
def test_where_no_more_threads_are_to_be_had_nothing_is_lost_or_read_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to_be_had: int
) -> None:
    few_threads(monkeypatch, to_be_had)
    paths = files(tmp_path, 400)
    found = list(made(visits(paths), Readers(8, wait=True), NOW, GRACE))
    assert [visit.run for visit in found] == [str(path) for path in paths]
    assert [len(visit) for visit in found] == [3] * 400


def test_what_breaks_in_a_thread_is_raised_where_the_visits_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise MemoryError

    monkeypatch.setattr("watcher.source.follow.look", breaks)
    with pytest.raises(MemoryError):
        list(made(visits(files(tmp_path, 100)), FAR, NOW, GRACE))


MOUNTS = """\
sysfs /sys sysfs rw 0 0
/dev/sda1 / ext4 rw 0 0
filer:/vol /data nfs4 rw,hard 0 0
tmpfs /data/scratch tmpfs rw 0 0
host:/a /odd\\040name lustre rw 0 0
sshfs /home/me/far fuse.sshfs rw 0 0
automount /net autofs rw 0 0
nothing /new someday rw 0 0
short
"""


@pytest.mark.parametrize(
    ("path", "local"),
    [
        ("/data", False),
        ("/data/runs/a", False),
        ("/database", True),
        ("/data/scratch/run", True),
        ("/odd name/run", False),
        ("/home/me/far", False),
        ("/home/me", True),
        ("/net/x", False),
        ("/new/x", False),
        ("/", True),
    ],
)
def test_a_local_disk_is_told_by_the_kernels_list(tmp_path: Path, path: str, local: bool) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert is_local(path, mounts) is local
    assert not is_local(path, tmp_path / "none")


def test_a_relative_path_is_taken_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"filer:/x / nfs rw 0 0\n/dev/sda1 {tmp_path} xfs rw 0 0\n")
    monkeypatch.chdir(tmp_path)
    assert is_local("logs", mounts)
    assert not is_local(os.fspath(tmp_path.parent), mounts)

"""Discovery, following and attempts together, on real directories."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.plugins.hparams.api_pb2 import STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

from tests.source.growing import NAME, GrowingFile, record, scalar, session, tensor
from watcher.errors import LogdirError
from watcher.model import Batch, Health, Poll, Signs
from watcher.source import listing
from watcher.source.discover import Tree
from watcher.source.listing import DONE_MARKERS, Look
from watcher.source.logdir import ONE_SHOT, Logdir, SourceOptions, read_once

NOW = time.time()


def steps(poll: Poll) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for batch in poll.batches:
        found.setdefault(batch.run.run, []).extend(batch.points.step.tolist())
    return found


def only(poll: Poll) -> Batch:
    (batch,) = poll.batches
    return batch


def test_new_runs_growth_and_removal_come_as_batches(tmp_path: Path) -> None:
    logdir = Logdir([tmp_path])
    assert logdir.poll(NOW).batches == ()
    file = GrowingFile(tmp_path / "a" / "b").scalars("loss", range(3))
    first = only(logdir.poll(NOW + 1))
    assert (first.run.run, first.attempt, first.fresh) == ("a/b", 0, True)
    assert first.run.root == str(tmp_path)
    file.scalars("loss", range(3, 5))
    second = only(logdir.poll(NOW + 2))
    assert (second.fresh, second.points.step.tolist(), second.seen_at) == (False, [3, 4], NOW + 2)
    assert logdir.poll(NOW + 3).batches == ()
    shutil.rmtree(tmp_path / "a")
    gone = only(logdir.poll(NOW + 4))
    assert (gone.gone, gone.run.run, len(gone.points)) == (True, "a/b", 0)
    assert logdir.poll(NOW + 5).batches == ()


def test_r8_special_and_unreadable_files_never_stop_the_others(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "events.tfevents.fifo")
    (tmp_path / "events.tfevents.dangling").symlink_to("nowhere")
    (tmp_path / "events.tfevents.loop").symlink_to("events.tfevents.loop")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "events.tfevents.1").touch()
    (tmp_path / "events.tfevents.2").write_bytes(bytes(1000))
    (tmp_path / "events.tfevents.3").mkdir()
    version = b"\x1a\x0dbrain.Event:2"
    (tmp_path / "events.tfevents.4").write_bytes(record(version))
    GrowingFile(tmp_path, "events.tfevents.5").scalars("a", range(3))
    poll = Logdir([tmp_path], SourceOptions(symlinks="always")).poll(NOW)
    assert steps(poll) == {".": [0, 1, 2]}
    assert poll.ailments == ()


def test_r8_a_file_that_may_not_be_read_is_named_and_tried_again(tmp_path: Path) -> None:
    bad = GrowingFile(tmp_path / "bad").scalars("a", range(2))
    GrowingFile(tmp_path / "good").scalars("a", range(2))
    logdir = Logdir([tmp_path])
    long = "x" * 250
    logdir.poll(NOW)
    bad.path.unlink()
    bad.path.symlink_to(bad.path.name)
    GrowingFile(tmp_path / "good").scalars("a", range(2, 3))
    GrowingFile(tmp_path / long).scalars("a", range(1))
    poll = logdir.poll(NOW + 1)
    assert steps(poll) == {"good": [2], long: [0]}
    assert [(a.path, a.health) for a in poll.ailments] == [(str(bad.path), Health.LOOP)]
    assert logdir.poll(NOW + 2).ailments == ()
    bad.path.unlink()
    bad.scalars("a", range(3))
    assert steps(logdir.poll(NOW + 100)) == {"bad": [2]}
    assert logdir.health == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_r8_a_directory_that_may_not_be_listed_is_named(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    poll = Logdir([tmp_path]).poll(NOW)
    assert [a.health for a in poll.ailments] == [Health.DENIED]


def test_r9_links_are_followed_as_told_and_a_directory_is_read_once(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    GrowingFile(root / "run").scalars("a", range(2))
    GrowingFile(outside / "far").scalars("a", range(3))
    (root / "again").symlink_to(root / "run")
    (root / "aa").symlink_to(outside)
    (root / "up").symlink_to(tmp_path)
    (root / "linked").mkdir()
    (root / "linked" / NAME).symlink_to(root / "run" / NAME)
    (root / "out").mkdir()
    (root / "out" / NAME).symlink_to(outside / "far" / NAME)
    inside = {"run": [0, 1], "linked": [0, 1]}
    assert steps(Logdir([root]).poll(NOW)) == inside
    within = Logdir([root], SourceOptions(symlinks="within-root"))
    assert steps(within.poll(NOW)) == inside
    far = {"aa/far": [0, 1, 2], "out": [0, 1, 2]}
    assert steps(read_once([root])) == inside | far


@pytest.mark.parametrize("ending", [".tmp", ".partial", "~", ".gz"])
def test_r9_temporary_files_and_pruned_directories_are_ignored(
    tmp_path: Path, ending: str
) -> None:
    GrowingFile(tmp_path, NAME + ending).scalars("a", range(1))
    GrowingFile(tmp_path, "." + NAME).scalars("a", range(1))
    for name in (".hidden", "__pycache__", "node_modules", "scratch-1"):
        GrowingFile(tmp_path / name).scalars("a", range(1))
    GrowingFile(tmp_path / "kept").scalars("a", range(1))
    poll = Logdir([tmp_path], SourceOptions(prune=("scratch-*",))).poll(NOW)
    assert steps(poll) == {"kept": [0]}


def test_r10_discovery_keeps_to_its_budget_and_misses_nothing(tmp_path: Path) -> None:
    for i in range(20):
        GrowingFile(tmp_path / f"r{i}").scalars("a", range(1))
    logdir = Logdir([tmp_path], SourceOptions(directories_per_poll=5))
    found = [len(logdir.poll(NOW + i).batches) for i in range(6)]
    assert sum(found) == 20
    assert max(found) == 5


def test_r10_points_a_poll_are_bounded_and_each_run_has_its_turn(tmp_path: Path) -> None:
    for i in range(4):
        GrowingFile(tmp_path / f"r{i}").scalars("a", range(10))
    logdir = Logdir([tmp_path], SourceOptions(points_per_poll=10))
    found: dict[str, list[int]] = {}
    for i in range(4):
        found |= steps(logdir.poll(NOW + i))
        assert logdir.behind
    assert found == {f"r{i}": list(range(10)) for i in range(4)}
    assert logdir.poll(NOW + 4) == Poll(())
    assert not logdir.behind


def test_r10_run_directories_first_read_in_one_poll_are_bounded(tmp_path: Path) -> None:
    for i in range(7):
        GrowingFile(tmp_path / f"r{i}").scalars("a", range(2))
    logdir = Logdir([tmp_path], SourceOptions(points_per_poll=60_000))
    assert [len(logdir.poll(NOW + i).batches) for i in range(4)] == [3, 3, 1, 0]
    assert not logdir.behind
    held = Logdir([tmp_path], SourceOptions(points_per_poll=60_000))
    held.restore(logdir.snapshot())
    held.poll(NOW + 5)
    assert not held.behind


def test_r10_a_directory_whose_mtime_does_not_change_is_listed_all_the_same(
    tmp_path: Path,
) -> None:
    (tmp_path / "run").mkdir()
    os.utime(tmp_path / "run", (1000, 1000))
    os.utime(tmp_path, (1000, 1000))
    logdir = Logdir([tmp_path])
    logdir.poll(NOW)
    GrowingFile(tmp_path / "run").scalars("a", range(2))
    os.utime(tmp_path / "run", (1000, 1000))
    found = [steps(logdir.poll(NOW + i)) for i in range(1, 25)]
    assert {"run": [0, 1]} in found


def test_r10_directories_where_something_happens_are_looked_at_ten_times_as_often(
    tmp_path: Path,
) -> None:
    for i in range(640):
        (tmp_path / f"r{i:03d}").mkdir()
    old = GrowingFile(tmp_path / "r000").scalars("a", range(1))
    for directory in tmp_path.iterdir():
        os.utime(directory, (1000, 1000))
    tree = Tree(str(tmp_path), Look())
    tree.sweep(NOW)
    tree.stir(str(old.path.parent), NOW)
    for i in range(40):
        tree.sweep(NOW + i)
    looks = sorted(d.looks for d in tree.directories.values() if d.run != ".")
    assert looks[-1] == tree.directories[str(old.path.parent)].looks >= 40
    assert 1 <= looks[0] <= looks[-2] <= 4
    late = GrowingFile(tmp_path / "r639")
    found = [tree.sweep(NOW + 40 + i).files for i in range(25)]
    assert [file for one in found for file in one] == [
        (tree.directories[str(late.path.parent)], NAME)
    ]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every path whose size was asked for."""
    paths: list[str] = []
    ask = os.stat

    def noting(path: str, **more: Any) -> os.stat_result:
        paths.append(str(path))
        return ask(path, **more)

    monkeypatch.setattr(os, "stat", noting)
    return paths


def test_r10_an_idle_poll_asks_once_a_run_and_runs_long_silent_once_a_minute(
    tmp_path: Path, asked: list[str]
) -> None:
    for i in range(200):
        GrowingFile(tmp_path / f"team{i % 9}" / f"r{i}").scalars("a", range(2))
    logdir = Logdir([tmp_path])
    assert len(logdir.poll(NOW).batches) == 200
    logdir.poll(NOW + 5)  # the directories are new, and looked at once more
    asked.clear()
    logdir.poll(NOW + 10)
    assert 200 <= len(asked) <= 300
    day = NOW + 86400
    for i in range(12):
        logdir.poll(day + 5 * i)
    asked.clear()
    polls = 120
    for i in range(12, 12 + polls):
        logdir.poll(day + 5 * i)
    events = [path for path in asked if "tfevents" in path]
    assert 200 * polls / 12 <= len(events) <= 200 * polls / 5
    most = max(events.count(path) for path in set(events))
    assert most <= polls / 5  # none more often than each 25 s


@pytest.mark.parametrize("silence", [1.0, 60.0, 600.0, 7200.0, 1e6])
def test_r2_growth_is_seen_late_by_a_sixtieth_of_the_silence_and_a_minute_at_most(
    tmp_path: Path, silence: float
) -> None:
    file = GrowingFile(tmp_path / "run").scalars("a", range(2))
    logdir, now = Logdir([tmp_path]), NOW
    logdir.poll(now)
    while now < NOW + silence:
        now += max(1.0, silence / 5000)
        logdir.poll(now)
    file.scalars("a", range(2, 4))
    grown = now
    while not steps(logdir.poll(now)):
        now += 1.0
    assert now - grown <= max(1.0, min(silence / 60, 60.0))
    file.scalars("a", range(4, 6))
    assert steps(logdir.poll(now + 1)) == {"run": [4, 5]}  # from now on at each poll


def test_r2_a_run_with_something_unsettled_does_not_rest(tmp_path: Path) -> None:
    file = GrowingFile(tmp_path / "run").scalars("a", range(2))
    whole = scalar("a", 2, 1.0)
    file.write(whole[:20] + bytes([whole[20] ^ 1]) + whole[21:] + scalar("a", 3, 1.0))
    logdir = Logdir([tmp_path], SourceOptions(corrupt_grace=7200.0))
    for now in np.arange(NOW, NOW + 7190, 10):
        logdir.poll(float(now))
    (later,) = [s for i in range(20) if (s := steps(logdir.poll(NOW + 7190 + i)))]
    assert later == {"run": [3]}


def test_r2_a_clock_that_is_set_back_puts_nobody_to_sleep(tmp_path: Path) -> None:
    file = GrowingFile(tmp_path / "run").scalars("a", range(2))
    logdir = Logdir([tmp_path])
    logdir.poll(NOW)
    logdir.poll(NOW + 86400)
    file.scalars("a", range(2, 4))
    assert steps(logdir.poll(NOW + 86400 - 3600)) == {"run": [2, 3]}


def test_r2_a_run_given_out_once_more_does_not_rest(tmp_path: Path) -> None:
    GrowingFile(tmp_path / "run").scalars("a", range(2))
    logdir = Logdir([tmp_path])
    (key,) = [batch.run for batch in logdir.poll(NOW).batches]
    assert steps(logdir.poll(NOW + 86400)) == {}
    logdir.reread([key])
    assert steps(logdir.poll(NOW + 86401)) == {"run": [0, 1]}


def test_r11_the_files_of_a_directory_are_merged_live_as_at_once(tmp_path: Path) -> None:
    logdir = Logdir([tmp_path])
    live: list[Batch] = []
    for i, (begin, end) in enumerate([(0, 10), (6, 12), (0, 4)]):
        file = GrowingFile(tmp_path, f"events.out.tfevents.{i}.host")
        file.scalars("loss", range(begin, end), wall=100.0 * i)
        live += logdir.poll(NOW + i).batches
    once = read_once([tmp_path]).batches
    for batches in (live, list(once)):
        assert [
            (b.attempt, b.fresh, b.superseded_from, b.retained, b.points.step.tolist())
            for b in batches
        ] == [
            (0, True, None, 0, [*range(10)]),
            (0, True, 6, 6, [*range(12)]),
            (1, True, None, 0, [*range(4)]),
        ]


def test_r11_concurrent_writers_are_flagged_and_given_out_apart(tmp_path: Path) -> None:
    for rank in range(2):
        file = GrowingFile(tmp_path / "run", f"events.out.tfevents.1.rank{rank}")
        file.scalars("loss", range(5), wall=rank / 2)
    poll = Logdir([tmp_path]).poll(NOW)
    assert steps(poll) == {"run": [*range(5)], "run#2": [*range(5)]}
    assert [a.health for a in poll.ailments] == [Health.CONCURRENT]


def test_r13_an_unreachable_root_is_one_line_and_its_runs_are_not_gone(tmp_path: Path) -> None:
    root = tmp_path / "root"
    GrowingFile(root / "run").scalars("a", range(2))
    GrowingFile(tmp_path / "other").scalars("a", range(2))
    logdir = Logdir([root, tmp_path / "other"])
    logdir.poll(NOW)
    root.rename(tmp_path / "away")
    GrowingFile(tmp_path / "other").scalars("a", range(2, 3))
    poll = logdir.poll(NOW + 1)
    assert list(poll.unreachable) == [str(root)]
    assert steps(poll) == {".": [2]}
    (tmp_path / "away").rename(root)
    assert logdir.poll(NOW + 2) == Poll(())


def hparams_end() -> bytes:
    content = HParamsPluginData(session_end_info=SessionEndInfo(status=STATUS_SUCCESS))
    ended = Summary(value=[Summary.Value(tag="_hparams_/session_end_info")])
    ended.value[0].metadata.plugin_data.plugin_name = "hparams"
    ended.value[0].metadata.plugin_data.content = content.SerializeToString()
    return record(Event(summary=ended).SerializeToString())


def test_signs_of_completion_come_with_the_batches(tmp_path: Path) -> None:
    logdir = Logdir([tmp_path])
    file = GrowingFile(tmp_path / "run").write(session(1)).scalars("a", range(2))
    assert only(logdir.poll(NOW)).signs.finished == ""
    file.write(session(2))
    assert only(logdir.poll(NOW + 1)).signs.finished == "SessionLog.STOP"
    file.write(session(1, 2))
    assert only(logdir.poll(NOW + 2)).signs.finished == ""
    file.write(hparams_end())
    assert only(logdir.poll(NOW + 3)).signs.finished == "HParams session ended"


def test_a_done_marker_is_a_sign_of_completion(tmp_path: Path) -> None:
    logdir = Logdir([tmp_path])
    file = GrowingFile(tmp_path / "run").scalars("a", range(2))
    logdir.poll(NOW)
    (tmp_path / "run" / "_SUCCESS").touch()
    assert only(logdir.poll(NOW + 1)).signs == Signs("found _SUCCESS", last=True)
    file.scalars("a", range(2, 4)).touch(60)
    assert only(logdir.poll(NOW + 2)).signs == Signs("found _SUCCESS")  # kept back by the writer
    file.scalars("a", range(4, 6)).touch(900)
    assert only(logdir.poll(NOW + 3)).signs == Signs()  # it goes on: the marker is an old one
    later = time.time() + 901
    os.utime(tmp_path / "run" / "_SUCCESS", (later, later))
    said = [b for i in range(40) for b in logdir.poll(NOW + 501 + i).batches]
    assert [b.signs for b in said] == [Signs("found _SUCCESS", last=True)]  # written again
    (tmp_path / "run" / "_SUCCESS").unlink()
    assert only(logdir.poll(NOW + 600)).signs == Signs()


@pytest.mark.parametrize("looks", [1, 2, 9])
def test_an_end_after_which_the_file_goes_on_is_none_however_it_was_read(
    tmp_path: Path, looks: int
) -> None:
    logdir = Logdir([tmp_path])
    file = GrowingFile(tmp_path / "run").scalars("a", range(1), wall=NOW)
    parts = [hparams_end(), *(scalar("a", i, 1.0, NOW + 100 * i) for i in range(1, 9))]
    said = []
    for part in np.array_split(np.arange(len(parts)), looks):
        for i in part.tolist():
            file.write(parts[i])
            file.touch(100 * i)
        said += [b.signs.finished for b in logdir.poll(NOW + len(said)).batches]
    assert said[-1] == ""


def test_only_a_file_that_comes_after_another_may_be_a_restart(tmp_path: Path) -> None:
    logdir = Logdir([tmp_path])
    GrowingFile(tmp_path / "run", NAME.replace("17", "16")).scalars("a", range(2), wall=NOW)
    GrowingFile(tmp_path / "other").scalars("a", range(2), wall=NOW)
    assert {b.begun for b in logdir.poll(NOW).batches} == {()}
    GrowingFile(tmp_path / "run").scalars("a", range(2, 4), wall=NOW + 50)
    assert only(logdir.poll(NOW + 1)).begun == (NOW + 50,)


def test_a_marker_that_goes_while_it_is_looked_at_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logdir = Logdir([tmp_path])
    file = GrowingFile(tmp_path / "run").scalars("a", range(2))
    logdir.poll(NOW)
    done = tmp_path / "run" / "DONE"
    done.touch()
    entries = listing.os.scandir

    @contextlib.contextmanager
    def unlinked(path):
        with entries(path) as found:
            held = list(found)
            done.unlink(missing_ok=True)
            yield iter(held)

    monkeypatch.setattr(listing.os, "scandir", unlinked)
    assert logdir.poll(NOW + 1).batches == ()
    file.scalars("a", range(2, 3))
    assert steps(logdir.poll(NOW + 2)) == {"run": [2]}


@pytest.mark.parametrize("name", DONE_MARKERS[1:])
def test_r14_a_directory_that_is_named_like_a_marker_is_read(tmp_path: Path, name: str) -> None:
    GrowingFile(tmp_path / name / "run").scalars("a", range(2))
    GrowingFile(tmp_path / "DONE").scalars("a", range(2))
    found = {b.run.run: b.signs.finished for b in Logdir([tmp_path]).poll(NOW).batches}
    below = {} if name.startswith(".") else {f"{name}/run": ""}
    assert found == below | {"DONE": ""}


def test_a_restart_resumes_without_reading_again(tmp_path: Path) -> None:
    kept = GrowingFile(tmp_path / "kept").scalars("a", range(5))
    changed = GrowingFile(tmp_path / "changed").scalars("a", range(5))
    GrowingFile(tmp_path / "idle").scalars("a", range(5))
    before = Logdir([tmp_path])
    before.poll(NOW)
    held = pickle.loads(pickle.dumps(list(before.snapshot())))
    kept.scalars("a", range(5, 7))
    changed.replace(b"".join(scalar("a", s, 9.0) for s in range(3)))
    GrowingFile(tmp_path / "kept", "events.out.tfevents.1800000000").scalars("a", range(3, 5), 99)
    after = Logdir([tmp_path])
    after.restore(held)
    poll = after.poll(NOW + 1)
    assert {b.run.run for b in poll.batches} == {"kept", "changed"}
    fresh = [b for b in poll.batches if b.run.run == "changed"]
    assert [(b.fresh, b.points.step.tolist()) for b in fresh] == [(True, [0, 1, 2])]
    resumed = [b for b in poll.batches if b.run.run == "kept"]
    assert [b.points.step.tolist() for b in resumed] == [[5, 6], [0, 1, 2, 3, 4]]
    assert (resumed[1].superseded_from, resumed[1].retained) == (3, 3)
    assert after.poll(NOW + 2).batches == ()


def test_a_single_event_file_is_a_log_directory(tmp_path: Path) -> None:
    file = GrowingFile(tmp_path).scalars("a", range(3))
    batch = only(read_once([file.path]))
    assert (batch.run.root, batch.run.run) == (str(file.path), ".")
    logdir = Logdir([file.path], ONE_SHOT)
    assert len(logdir.poll(NOW).batches) == 1
    file.scalars("a", range(3, 4))
    assert steps(logdir.poll(NOW + 1)) == {".": [3]}


def test_a_missing_log_directory_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(LogdirError, match="nowhere: no such directory"):
        read_once([tmp_path / "nowhere"])


def test_bytes_without_scalars_are_a_sign_of_life(tmp_path: Path) -> None:
    logdir = Logdir([tmp_path])
    file = GrowingFile(tmp_path / "run")
    logdir.poll(NOW)
    file.write(record(b"\x1a\x0dbrain.Event:2"))
    batch = only(logdir.poll(NOW + 7))
    assert (len(batch.points), batch.seen_at) == (0, NOW + 7)


def test_a_file_that_was_removed_and_came_back_is_read_anew(tmp_path: Path) -> None:
    logdir = Logdir([tmp_path])
    file = GrowingFile(tmp_path / "run").scalars("a", range(3))
    logdir.poll(NOW)
    file.path.unlink()
    assert logdir.poll(NOW + 1) == Poll(())
    file.scalars("a", range(5), wall=50.0)
    batch = only(logdir.poll(NOW + 2))
    assert (batch.fresh, batch.points.step.tolist()) == (True, [0, 1, 2, 3, 4])


def test_names_that_are_not_utf8_are_shown_with_escapes(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    GrowingFile(tmp_path / name).scalars("a", range(1))
    assert steps(read_once([tmp_path])) == {"caf\\xe9": [0]}


def test_values_that_give_nothing_are_counted_with_the_run(tmp_path: Path) -> None:
    file = GrowingFile(tmp_path / "run").scalars("a", range(2))
    file.write(tensor("a", 2, np.zeros(3, np.float32), "scalars"), record(b"\x2a\x7f"))
    file.write(tensor("b", 2, TensorProto(dtype=3, int_val=[1, 2])))
    logdir = Logdir([tmp_path])
    assert only(logdir.poll(NOW)).signs.ignored == 3
    file.scalars("a", range(3, 4))
    assert only(logdir.poll(NOW + 1)).signs.ignored == 3


@pytest.mark.parametrize("local", [False, True])
def test_r2_on_a_network_mount_a_file_that_grew_lately_is_opened_as_its_size_may_be_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local: bool
) -> None:
    monkeypatch.setattr("watcher.source.ahead.is_local", lambda _: local)
    file = GrowingFile(tmp_path / "run").scalars("a", range(2))
    logdir = Logdir([tmp_path])
    logdir.poll(NOW)
    file.scalars("a", range(2, 4))
    assert steps(logdir.poll(NOW + 1)) == {"run": [2, 3]}
    old, ask = file.path.stat(), os.stat

    def stale(path: str, **more: Any) -> os.stat_result:
        return old if str(path) == str(file.path) else ask(path, **more)

    monkeypatch.setattr(os, "stat", stale)
    file.scalars("a", range(4, 6))
    assert steps(logdir.poll(NOW + 2)) == ({} if local else {"run": [4, 5]})


def test_r13_a_root_that_is_empty_after_a_restart_is_a_mount_that_is_missing(
    tmp_path: Path,
) -> None:
    root, mounted = tmp_path / "logs", tmp_path / "elsewhere"
    GrowingFile(root / "run").scalars("a", range(2))
    before = Logdir([root])
    before.poll(NOW)
    parts = [part | {"device": part["device"] + 1} for part in before.snapshot()]
    root.rename(mounted)
    root.mkdir()  # where the filesystem is to be mounted
    after = Logdir([root])
    after.restore(parts)
    poll = after.poll(NOW + 1)
    assert "is the filesystem mounted?" in poll.unreachable[str(root)]
    assert poll.batches == ()
    root.rmdir()
    mounted.rename(root)
    poll = after.poll(NOW + 2)
    assert (poll.unreachable, [batch.gone for batch in poll.batches]) == ({}, [])


def test_runs_that_were_removed_during_a_restart_are_gone(tmp_path: Path) -> None:
    root = tmp_path / "logs"
    GrowingFile(root / "run").scalars("a", range(2))
    before = Logdir([root])
    before.poll(NOW)
    shutil.rmtree(root / "run")
    after = Logdir([root])
    after.restore(before.snapshot())
    poll = after.poll(NOW + 1)
    assert (poll.unreachable, [batch.gone for batch in poll.batches]) == ({}, [True])


def test_r13_a_root_whose_runs_are_known_and_that_is_empty_is_unreachable(tmp_path: Path) -> None:
    logdir = Logdir([tmp_path])
    logdir.expect(str(tmp_path))
    assert "is the filesystem mounted?" in logdir.poll(NOW).unreachable[str(tmp_path)]
    GrowingFile(tmp_path / "run").scalars("a", range(2))
    assert steps(logdir.poll(NOW + 1)) == {"run": [0, 1]}
    shutil.rmtree(tmp_path / "run")
    poll = logdir.poll(NOW + 100)
    assert (poll.unreachable, [batch.gone for batch in poll.batches]) == ({}, [True])


def test_r13_a_root_that_became_a_file_is_unreachable(tmp_path: Path) -> None:
    root = tmp_path / "logs"
    GrowingFile(root / "run").scalars("a", range(2))
    logdir = Logdir([root])
    logdir.poll(NOW)
    shutil.rmtree(root)
    root.write_bytes(b"")
    poll = logdir.poll(NOW + 1)
    assert "is a file now" in poll.unreachable[str(root)]
    assert poll.batches == ()


def test_r13_an_empty_directory_in_place_of_the_root_is_unreachable_and_an_emptied_one_is_not(
    tmp_path: Path,
) -> None:
    """A bind mount that is gone leaves the device as it was."""
    root, away = tmp_path / "logs", tmp_path / "away"
    for name in ("a", "b", "c"):
        GrowingFile(root / name).scalars("loss", range(2))
    logdir = Logdir([root])
    logdir.poll(NOW)
    root.rename(away)
    root.mkdir()
    for later in (1, 2, 300):
        poll = logdir.poll(NOW + later)
        assert "another directory than it was" in poll.unreachable[str(root)]
        assert poll.batches == ()
    root.rmdir()
    away.rename(root)
    poll = logdir.poll(NOW + 301)
    assert (poll.unreachable, poll.batches) == ({}, ())
    for run in ("a", "b", "c"):  # as people clean up
        shutil.rmtree(root / run)
    poll = logdir.poll(NOW + 400)
    assert ({b.run.run for b in poll.batches if b.gone}, poll.unreachable) == (set("abc"), {})

"""Tails, damage, replacement."""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

from tests.source.growing import GrowingFile, masked, record, scalar
from watcher.model import Health
from watcher.source.follow import Cursor, News, due, look

GRACE = 600.0
ONE = len(scalar("a", 1, 1.0, 1.0))


def read(file: GrowingFile, cursor: Cursor, now: float = 1e9, grace: float = GRACE) -> News:
    if cursor.size != file.size:
        os.utime(file.path, (now, now))
    news = look(cursor, {}, now, grace)
    assert news is not None
    return news


def steps(news: News) -> list[int]:
    return [int(step) for step in news.points.step]


@pytest.fixture
def file(tmp_path: Path) -> GrowingFile:
    return GrowingFile(tmp_path)


@pytest.fixture
def cursor(file: GrowingFile) -> Cursor:
    return Cursor(str(file.path))


def test_r3_an_incomplete_tail_is_no_error_and_is_read_once_it_is_whole(
    file: GrowingFile, cursor: Cursor
) -> None:
    whole = scalar("a", 2, 2.0, 1.0)
    file.write(scalar("a", 1, 1.0, 1.0), whole[:20])
    first = read(file, cursor)
    assert (steps(first), first.ailments) == ([1], [])
    file.write(whole[20:])
    assert steps(read(file, cursor, 1e9 + 9)) == [2]


def test_r3_zeros_are_not_written_yet(file: GrowingFile, cursor: Cursor) -> None:
    file.write(scalar("a", 1, 1.0, 1.0), bytes(ONE))
    assert steps(read(file, cursor)) == [1]
    late = read(file, cursor, 1e9 + 10 * GRACE)
    assert (steps(late), late.ailments) == ([], [])
    file.damage(ONE, scalar("a", 2, 1.0, 1.0))
    assert steps(read(file, cursor, 1e9 + 11 * GRACE)) == [2]


def test_r4_a_bad_body_is_retried_and_then_only_its_record_is_skipped(
    file: GrowingFile, cursor: Cursor
) -> None:
    file.scalars("a", range(1, 6)).damage(2 * ONE + 30)
    assert steps(read(file, cursor)) == [1, 2]
    assert steps(read(file, cursor, 1e9 + 1)) == []
    assert due(cursor, 1e9 + GRACE, GRACE)
    late = read(file, cursor, 1e9 + GRACE)
    assert steps(late) == [4, 5]
    assert [(a.health, a.skipped_bytes) for a in late.ailments] == [(Health.DAMAGED, ONE)]
    assert read(file, cursor, 1e9 + GRACE + 1).ailments == []


def test_r4_a_body_that_is_repaired_within_the_grace_is_read(
    file: GrowingFile, cursor: Cursor
) -> None:
    file.scalars("a", range(1, 4))
    sound = file.path.read_bytes()
    file.damage(ONE + 30)
    assert steps(read(file, cursor)) == [1]
    file.damage(0, sound)
    assert steps(read(file, cursor, 1e9 + 5)) == [2, 3]


def test_r4_behind_a_bad_header_reading_goes_on_where_header_and_body_hold(
    file: GrowingFile, cursor: Cursor
) -> None:
    file.scalars("a", range(1, 4)).write(b"rubbish" * 1000).scalars("a", range(4, 6))
    news = read(file, cursor, grace=0.0)
    assert steps(news) == [1, 2, 3, 4, 5]
    assert cursor.skipped == 7000


def test_r4_a_writer_that_died_inside_a_record_costs_only_that_record(
    file: GrowingFile, cursor: Cursor
) -> None:
    file.write(scalar("a", 1, 1.0, 1.0), scalar("a", 2, 1.0)[:-10]).scalars("a", range(3, 6))
    assert steps(read(file, cursor, grace=0.0)) == [1, 3, 4, 5]


def test_r4_a_large_payload_cut_short_is_found_out_by_the_header_after_it(
    file: GrowingFile, cursor: Cursor
) -> None:
    value = Summary.Value(tag="i")
    value.image.encoded_image_string = b"x" * 100_000
    image = record(Event(step=1, summary=Summary(value=[value])).SerializeToString())
    many = [scalar("a", step, 1.0) for step in range(3000)]
    file.write(scalar("a", -1, 1.0), image[:50_000], *many)
    assert steps(read(file, cursor, grace=0.0)) == [-1, *range(3000)]


def test_r4_a_length_past_the_end_with_sound_records_behind_is_settled_after_the_grace(
    file: GrowingFile, cursor: Cursor
) -> None:
    length = struct.pack("<Q", 1 << 20)
    file.write(scalar("a", 1, 1.0, 1.0), length + masked(length)).scalars("a", range(2, 5))
    assert steps(read(file, cursor)) == [1]
    assert steps(read(file, cursor, 1e9 + GRACE)) == [2, 3, 4]


def test_r5_a_length_of_2_to_the_62_is_refused_and_passed(
    file: GrowingFile, cursor: Cursor
) -> None:
    length = struct.pack("<Q", 2**62)
    file.write(length + masked(length)).scalars("a", range(3))
    assert steps(read(file, cursor, grace=0.0)) == [0, 1, 2]


def test_a_truncated_file_read_once_is_said_to_end_inside_a_record(
    file: GrowingFile, cursor: Cursor
) -> None:
    file.scalars("a", range(3)).cut(3 * ONE - 9)
    news = read(file, cursor, grace=0.0)
    assert [a.health for a in news.ailments] == [Health.TRUNCATED]
    assert cursor.skipped == 0


def test_r7_a_shrunken_file_and_one_with_another_last_record_are_read_anew(
    file: GrowingFile, cursor: Cursor
) -> None:
    file.scalars("a", range(3))
    read(file, cursor)
    file.cut(0).scalars("a", range(7, 9))
    news = read(file, cursor, 1e9 + 1)
    assert (news.anew, steps(news)) == (True, [7, 8])
    file.replace(b"".join(scalar("a", s, 5.0) for s in range(10)))
    news = read(file, cursor, 1e9 + 2)
    assert (news.anew, steps(news)) == (True, list(range(10)))


def test_r7_the_same_prefix_under_a_new_inode_goes_on(file: GrowingFile, cursor: Cursor) -> None:
    file.scalars("a", range(3))
    read(file, cursor)
    file.replace(file.path.read_bytes() + scalar("a", 3, 1.0, 1.0))
    news = read(file, cursor, 1e9 + 1)
    assert (news.anew, steps(news)) == (False, [3])


def test_r1_only_regular_files_are_read_and_a_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tfevents.fifo")
    assert look(Cursor(str(tmp_path / "tfevents.fifo")), {}, 0.0, 0.0) is None


def test_r2_no_descriptor_is_kept(file: GrowingFile, cursor: Cursor) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for now in range(5):
        file.scalars("a", range(3))
        read(file, cursor, 1e9 + now)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_bytes_that_were_there_before_are_as_old_as_the_file_says(
    file: GrowingFile, cursor: Cursor
) -> None:
    file.scalars("a", range(3))
    os.utime(file.path, (500.0, 500.0))
    first = look(cursor, {}, 1000.0, GRACE)
    file.scalars("a", range(3, 5))
    second = look(cursor, {}, 1100.0, GRACE)
    assert first is not None
    assert second is not None
    assert (first.seen_at, second.seen_at) == (500.0, 1100.0)


PIECE = st.one_of(
    st.builds(lambda s: scalar("a", s, 1.0), st.integers(0, 99)),
    st.binary(min_size=1, max_size=40),
    st.builds(lambda s, n: scalar("b", s, 2.0)[:n], st.integers(0, 99), st.integers(1, 40)),
    st.just(bytes(64)),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(PIECE, max_size=12), st.data())
def test_growth_in_any_chunks_ends_with_the_points_of_one_reading(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], draw: st.DataObject
) -> None:
    data = b"".join([*pieces, scalar("z", 1, 1.0)])
    directory = tmp_path_factory.mktemp("growth")
    whole = GrowingFile(directory / "whole").write(data)
    expected = read(whole, Cursor(str(whole.path)), grace=0.0).points
    file = GrowingFile(directory / "part")
    cursor, at, now = Cursor(str(file.path)), 0, 1e9
    found = []
    for cut in sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=5))):
        file.write(data[at:cut])
        at, now = cut, now + 1
        found += steps(read(file, cursor, now))
    file.write(data[at:])
    found += steps(read(file, cursor, now + 1))
    found += steps(read(file, cursor, now + 2 + GRACE))
    assert found == expected.step.tolist()


def test_real_files_grow_as_they_were_committed(shared_dir: Path, tmp_path: Path) -> None:
    for run in sorted((shared_dir / "corpus" / "_growth").glob("*/*")):
        versions = sorted(run.glob("v*/*"), key=lambda p: p.parent.name)
        path = tmp_path / run.name
        cursor, parts = Cursor(str(path)), []
        for version in versions:
            shutil.copyfile(version, path)
            news = look(cursor, {}, 2e9, GRACE)
            assert news is not None
            assert not news.anew
            parts.append(news.points.value)
        once = look(Cursor(str(path)), {}, 2e9, GRACE)
        assert once is not None
        np.testing.assert_array_equal(np.concatenate(parts), once.points.value)

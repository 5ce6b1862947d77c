"""What files suffer, and what is read of them: nothing unsound, and nearly all that is sound."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.source.faulty import FIELDS, FaultyFile, Point, is_subsequence
from tests.source.growing import scalar
from watcher.source.follow import Cursor, News, look

GRACE = 600.0


def rows(news: News) -> list[Point]:
    p = news.points
    return [
        (p.tags[t], s, v)
        for t, s, v in zip(p.tag.tolist(), p.step.tolist(), p.value.tolist(), strict=True)
    ]


class Follower:
    """Follows one file over polls; ``held`` is what it gave since it last began anew."""

    def __init__(self, path: Path) -> None:
        self.cursor, self.now = Cursor(str(path)), 1e9
        self.held: list[Point] = []

    def poll(self, seconds: float = 1.0) -> News:
        self.now += seconds
        os.utime(self.cursor.path, (self.now, self.now))
        news = look(self.cursor, {}, self.now, GRACE)
        assert news is not None
        self.held = rows(news) if news.anew else self.held + rows(news)
        return news


ACTS: dict[str, Callable[[FaultyFile], None]] = {
    "write": FaultyFile.sound,
    "write more": lambda f: f.sound(5),
    "large": lambda f: f.large(40_000),
    "die in a record": FaultyFile.cut_record,
    "zero pages": FaultyFile.late,
    "pages arrive": FaultyFile.arrive,
    "rubbish": FaultyFile.rubbish,
    "absurd length": FaultyFile.absurd,
    "shrink": FaultyFile.shrink,
    "replace": FaultyFile.replaced,
    "copy": FaultyFile.copied,
    "remove": FaultyFile.removed,
    **{f"flip {field}": partial(FaultyFile.flip, field=field) for field in FIELDS},
}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(["poll", "wait", *ACTS]), max_size=40), st.integers(0, 2**32))
def test_r4_whatever_happens_to_a_file_only_what_was_written_is_ever_returned(
    tmp_path_factory: pytest.TempPathFactory, acts: list[str], seed: int
) -> None:
    file = FaultyFile(tmp_path_factory.mktemp("faulty"), seed)
    follower = Follower(file.path)
    for act in [*acts, "poll"]:
        if act in ("poll", "wait"):
            follower.poll(1.0 if act == "poll" else GRACE + 1)
            assert is_subsequence(follower.held, file.written)
        else:
            ACTS[act](file)


@pytest.mark.parametrize("grace", [True, False], ids=["over polls", "at once"])
def test_r4_of_files_with_every_injury_nearly_every_sound_record_is_read(
    tmp_path: Path, grace: bool
) -> None:
    sound = read = 0
    for seed in range(40):
        file = FaultyFile(tmp_path / str(seed), seed)
        follower = Follower(file.path)
        for _ in range(12):
            file.sound(60)
            injury = file.random.choice(
                [file.rubbish, file.cut_record, file.absurd, file.large, *_flips(file)]
            )
            injury()
            file.sound(60)
            if grace:
                follower.poll()
        for _ in range(3):
            follower.poll(GRACE + 1)
        assert is_subsequence(follower.held, file.written)
        sound += len(file.standing)
        read += len(set(follower.held) & set(file.standing))
    assert read >= 0.999 * sound


def _flips(file: FaultyFile) -> list[Callable[[], None]]:
    return [partial(file.flip, field) for field in FIELDS]


@pytest.mark.parametrize("field", FIELDS)
def test_r4_a_bit_flipped_in_any_field_costs_its_record_alone(tmp_path: Path, field: str) -> None:
    for seed in range(60):
        file = FaultyFile(tmp_path / str(seed), seed)
        file.sound(30)
        file.flip(field)
        follower = Follower(file.path)
        follower.poll()
        follower.poll(GRACE)
        assert follower.held == file.standing
        assert len(follower.held) == 29


def test_r3_a_file_cut_at_every_byte_gives_its_whole_records_and_then_the_rest(
    tmp_path: Path,
) -> None:
    file = FaultyFile(tmp_path)
    file.sound(3)
    file.large(100)
    file.sound(2)
    data = file.path.read_bytes()
    for at in range(len(data) + 1):
        file.replace(data[:at])
        follower = Follower(file.path)
        assert follower.poll().ailments == []
        assert follower.held == [p for start, size, p in file.records if start + size <= at]
        file.write(data[at:])
        assert follower.poll().ailments == []
        assert follower.held == file.written


def test_r3_pages_that_are_late_are_read_when_they_come_though_no_time_stamp_tells(
    tmp_path: Path,
) -> None:
    file = FaultyFile(tmp_path)
    file.sound(3)
    file.late(3)
    file.sound(2)
    follower = Follower(file.path)
    follower.poll()
    assert follower.held == file.written[:3]
    then = file.path.stat().st_mtime_ns
    file.arrive()
    os.utime(file.path, ns=(then, then))
    news = look(follower.cursor, {}, follower.now + 1, GRACE)
    assert news is not None
    assert rows(news) == file.written[3:]
    assert news.ailments == []


@pytest.mark.parametrize("end", [b"", bytes(5000), scalar("a", 1, 1.0)[:-1], b"\xff" * 99])
def test_r4_an_unsound_end_is_reported_once_and_costs_nothing_more(
    tmp_path: Path, end: bytes
) -> None:
    file = FaultyFile(tmp_path)
    file.sound(3)
    file.write(end)
    follower = Follower(file.path)
    said = [follower.poll(GRACE).ailments for _ in range(5)]
    assert sum(len(one) for one in said) == (end[-1:] not in (b"", b"\x00"))
    file.sound(2)
    follower.poll(GRACE)
    follower.poll(GRACE)
    assert follower.held == file.written


def test_r7_a_file_deleted_while_it_is_read_gives_what_was_opened(tmp_path: Path) -> None:
    file = FaultyFile(tmp_path)
    file.sound(3)
    follower = Follower(file.path)
    follower.poll()
    file.removed()
    file.sound(2)
    follower.poll()
    assert follower.held == file.written[3:]


def test_r11_two_writers_in_one_file_cost_only_the_records_they_tore(tmp_path: Path) -> None:
    file = FaultyFile(tmp_path)
    for _ in range(20):
        file.sound(20)
        whole = file.record()
        file.write(whole[:20])  # one writer's buffer ends inside a record
        file.sound(20)  # the other's comes between
        file.write(whole[20:])
    follower = Follower(file.path)
    follower.poll()
    follower.poll(GRACE)
    assert follower.held == file.written

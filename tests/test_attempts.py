"""Resumes, new attempts, concurrent writers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from watcher.attempts import History, New, Piece, joined
from watcher.model import Columns, no_points

Rows = list[tuple[str, int, float]]  # tag, step, wall


def columns(rows: Rows) -> Columns:
    tags = tuple(dict.fromkeys(tag for tag, _, _ in rows))
    return Columns(
        tags,
        np.array([tags.index(tag) for tag, _, _ in rows], np.int32),
        np.array([step for _, step, _ in rows], np.int64),
        np.array([wall for _, _, wall in rows], np.float64),
        np.array([wall + 0.5 for _, _, wall in rows], np.float64),
    )


def curve(steps: range, wall: float = 0.0, tag: str = "loss") -> Rows:
    return [(tag, step, wall + i) for i, step in enumerate(steps)]


class Directory:
    """Files in memory, read piece by piece."""

    def __init__(self) -> None:
        self.files: dict[str, Columns] = {}
        self.history = History()

    def look(self, **news: Rows | New) -> list[Piece]:
        new = {k: v if isinstance(v, New) else New(columns(v)) for k, v in news.items()}
        for name, n in new.items():
            before = no_points() if n.anew else self.files.get(name, no_points())
            self.files[name] = joined((before, n.points))
        return self.history.update(new, lambda name: self.files[name])


def shown(pieces: list[Piece]) -> list[tuple[int, bool, int | None, int, list[int]]]:
    return [
        (p.attempt, p.fresh, p.superseded_from, p.retained, p.points.step.tolist()) for p in pieces
    ]


def test_r11_a_file_that_starts_again_is_a_new_attempt() -> None:
    d = Directory()
    assert shown(d.look(a=curve(range(5)))) == [(0, True, None, 0, [0, 1, 2, 3, 4])]
    assert shown(d.look(b=curve(range(3), 100))) == [(1, True, None, 0, [0, 1, 2])]
    assert shown(d.look(b=curve(range(3, 4), 103))) == [(1, False, None, 0, [3])]


def test_r11_a_file_that_starts_inside_the_range_is_a_resume() -> None:
    d = Directory()
    d.look(a=curve(range(10)) + curve(range(10), tag="lr"))
    (piece,) = d.look(b=curve(range(6, 8), 100))
    assert (piece.fresh, piece.superseded_from, piece.retained) == (True, 6, 12)
    assert piece.points.step.tolist() == [*range(6), *range(6), 6, 7]


def test_r11_a_file_that_goes_on_is_more_of_the_same_attempt() -> None:
    d = Directory()
    d.look(a=curve(range(5)))
    assert shown(d.look(b=curve(range(5, 7), 100))) == [(0, False, None, 0, [5, 6])]


def test_r11_no_shared_tag_or_only_step_0_is_more_of_the_same() -> None:
    d = Directory()
    d.look(a=curve(range(5)))
    assert shown(d.look(b=curve(range(2), tag="other"))) == [(0, False, None, 0, [0, 1])]
    zero = Directory()
    zero.look(a=curve(range(1)))
    assert shown(zero.look(b=curve(range(1), 100))) == [(0, False, None, 0, [0])]


def test_r11_the_shared_tag_with_the_most_points_decides() -> None:
    d = Directory()
    d.look(a=[*curve(range(100)), ("val", 50, 50.5), ("val", 99, 99.5)])
    (piece,) = d.look(b=[("val", 149, 200.0), *curve(range(100, 120), 200)])
    assert not piece.fresh
    (piece,) = d.look(c=[("val", 10, 300.0), *curve(range(60, 70), 300)])
    assert (piece.attempt, piece.superseded_from) == (0, 60)


def test_r11_several_events_in_one_look_come_as_if_looked_at_one_by_one() -> None:
    files = {"a": curve(range(10)), "b": curve(range(6, 9), 100), "c": curve(range(2), 200)}
    once, singly = Directory(), Directory()
    together = once.look(**files)
    apart = [piece for name, rows in files.items() for piece in singly.look(**{name: rows})]
    assert shown(together) == shown(apart)
    assert [p[:2] for p in shown(together)] == [(0, True), (0, True), (1, True)]


def test_r11_many_resumes_in_one_look_end_the_same_at_a_cost_in_proportion() -> None:
    n, back, resumes = 100, 20, 60

    def resume(i: int) -> Rows:
        begin = i * (n - back)
        return curve(range(begin, begin + n), 1000.0 * i)

    names = [f"events.out.tfevents.{i:04}" for i in range(resumes)]
    one_by_one, at_once = Directory(), Directory()
    for i, name in enumerate(names):
        (last,) = one_by_one.look(**{name: resume(i)})
    pieces = at_once.look(**{name: resume(i) for i, name in enumerate(names)})
    assert pieces[-1].points.step.tolist() == last.points.step.tolist()
    assert pieces[-1].superseded_from == last.superseded_from
    assert sum(len(piece.points) for piece in pieces) < 6 * resumes * n
    new = sum(len(piece.points) - piece.retained for piece in pieces)
    assert new >= len(last.points)  # nothing that stayed goes unjudged
    assert all(b.retained <= len(a.points) for a, b in pairwise(pieces))
    (more,) = at_once.look(**{names[-1]: curve(range(4820, 4830), 60_000.0)})
    assert (more.fresh, more.points.step.tolist()) == (False, list(range(4820, 4830)))


def test_r11_many_resumes_in_one_look_take_back_what_each_of_them_did() -> None:
    begins = (10, 100, 110, 120, 130, 140, 150)
    d = Directory()
    d.look(a=curve(range(200)))
    names = {f"b{i}": curve(range(b, b + 40), 1000.0 * (i + 1)) for i, b in enumerate(begins)}
    pieces = d.look(**names)
    assert min(p.superseded_from for p in pieces if p.superseded_from is not None) == 10
    assert pieces[0].retained == 10


def test_r11_interleaved_writers_are_kept_apart() -> None:
    d = Directory()
    pieces = d.look(a=curve(range(10)), b=curve(range(10), 0.5))
    assert [(p.stream, p.attempt) for p in pieces] == [(0, 0), (1, 0)]
    assert d.history.concurrent


def test_r11_writers_that_turn_out_to_be_concurrent_are_told_apart_afresh() -> None:
    d = Directory()
    d.look(a=curve(range(5)))
    d.look(b=curve(range(5), 4.5))
    pieces = d.look(a=curve(range(5, 10), 5), b=curve(range(5, 10), 9.5))
    assert [(p.stream, p.fresh, len(p.points)) for p in pieces] == [(0, True, 10), (1, True, 10)]


def test_r11_a_resume_that_is_found_late_takes_back_what_it_takes_back_in_its_turn() -> None:
    d = Directory()
    d.look(a=curve(range(10)))
    d.look(c=curve(range(3), 300, tag="other"))
    (piece,) = d.look(b=curve(range(5, 8), 100))
    assert (piece.fresh, piece.superseded_from, piece.retained) == (True, 5, 0)
    (piece,) = d.look(a=New(columns(curve(range(9))), anew=True))
    assert (piece.fresh, piece.superseded_from) == (True, None)  # nothing is taken back anew


def test_a_session_start_supersedes_from_its_step_once_a_scalar_follows() -> None:
    d = Directory()
    d.look(a=curve(range(10)))
    assert d.look(a=New(no_points(), [(0, 4)])) == []
    (piece,) = d.look(a=curve(range(5, 7), 100))
    assert (piece.superseded_from, piece.retained) == (4, 4)
    assert piece.points.step.tolist() == [0, 1, 2, 3, 5, 6]


def test_a_session_start_at_the_head_of_a_file_says_where_it_resumes() -> None:
    d = Directory()
    d.look(a=curve(range(10)))
    (piece,) = d.look(b=New(columns(curve(range(9, 12), 100)), [(0, 3)]))
    assert (piece.superseded_from, piece.retained) == (3, 3)


def test_a_session_start_without_a_step_announces_the_first_scalars() -> None:
    d = Directory()
    d.look(a=curve(range(10)))
    (piece,) = d.look(a=New(columns(curve(range(7, 9), 100)), [(0, 0)]))
    assert (piece.superseded_from, piece.retained) == (7, 7)


def test_steps_that_go_back_within_a_file_are_just_more_points() -> None:
    d = Directory()
    d.look(a=curve(range(10)))
    assert shown(d.look(a=curve(range(3), 100))) == [(0, False, None, 0, [0, 1, 2])]


def test_r7_a_replaced_file_is_given_out_afresh() -> None:
    d = Directory()
    d.look(a=curve(range(10)))
    (piece,) = d.look(a=New(columns(curve(range(3), 50)), anew=True))
    assert (piece.fresh, piece.points.step.tolist()) == (True, [0, 1, 2])


def test_r12_absurd_wall_times_do_no_harm() -> None:
    d = Directory()
    nan, absurd = float("nan"), 1e300
    d.look(a=[("loss", s, nan) for s in range(5)])
    pieces = d.look(b=[("loss", s, absurd) for s in range(3, 6)])
    assert shown(pieces) == [(0, True, 3, 3, [0, 1, 2, 3, 4, 5])]


STEPS = st.lists(st.tuples(st.sampled_from("xy"), st.integers(0, 9)), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=4), st.data())
def test_r11_however_it_was_split_the_attempt_ends_the_same(
    files: list[list[tuple[str, int]]], draw: st.DataObject
) -> None:
    wall = 0.0
    rows: dict[str, Rows] = {}
    for i, file in enumerate(files):
        rows[f"f{i}"] = [(tag, step, wall := wall + 1) for tag, step in file]
    assert held(Directory().look(**rows)) == held(_split(rows, draw))


def _split(rows: dict[str, Rows], draw: st.DataObject) -> list[Piece]:
    d, found = Directory(), []
    for name, points in rows.items():
        cuts = sorted(draw.draw(st.lists(st.integers(0, len(points)), max_size=3)))
        for i, j in zip([0, *cuts], [*cuts, len(points)], strict=True):
            found += d.look(**{name: points[i:j]})
    return found


def held(pieces: list[Piece]) -> tuple[int, Rows]:
    """Return what a reader of the pieces holds at the end."""
    parts: list[Columns] = []
    for piece in pieces:
        parts = [piece.points] if piece.fresh else [*parts, piece.points]
    p = joined(parts)
    rows = [
        (p.tags[t], int(s), float(w)) for t, s, w in zip(p.tag, p.step, p.wall_time, strict=True)
    ]
    return pieces[-1].attempt, rows

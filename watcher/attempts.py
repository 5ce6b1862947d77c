"""Which points of a run directory belong to one attempt? Resumes are settled here, once.

A directory's files, in order, become episodes: a new attempt, more of one, or a resume that takes
points back. The episodes depend on the files' contents alone, never on how these were split over
looks; what a look adds is found by comparing with the episodes given out before. When later data
change an earlier decision (two files turn out to be written at the same time, a file is replaced)
the attempt is given out afresh.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from watcher.model import Columns, Floats, Ints, no_points

FEW, LOOKS = 64, 4  # points of a look that may wait, and how many looks
MANY = 4  # resumes in one look that each give out their attempt
_TIME = re.compile(r"tfevents\.(\d+)")
_LEAST = np.iinfo(np.int64).min
_COUNT, _FIRST, _LOW, _HIGH = range(4)  # of a tag's steps
_BEGAN, _SECOND, _BEFORE_LAST, _LAST = range(4)  # of a tag's wall times


def file_order(name: str) -> tuple[int, str]:
    """Sort the event files of a directory as they were begun: by the time in the name."""
    found = _TIME.search(name)
    return int(found[1]) if found else 0, name


def joined(parts: Iterable[Columns]) -> Columns:
    """Put points one after another under one list of tags."""
    parts = [p for p in parts if len(p)]
    if len(parts) < 2:
        return parts[0] if parts else no_points()
    ids: dict[str, int] = {}
    tags = []
    for part in parts:
        local = np.array([ids.setdefault(t, len(ids)) for t in part.tags], np.int32)
        tags.append(local[part.tag])
    return Columns(
        tuple(ids),
        np.concatenate(tags),
        np.concatenate([p.step for p in parts]),
        np.concatenate([p.wall_time for p in parts]),
        np.concatenate([p.value for p in parts]),
    )


@dataclass(slots=True)
class Facts:
    """What is remembered of one file: per tag a few steps and wall times, and its restarts.

    ``cuts`` are SessionLog.START: the index of the first point after it, the step from which it
    takes points back, and the highest step that stood in the file before it. ``announced`` waits
    for its first point. ``waiting``: the newest few points, until somebody asks about tags.
    """

    tags: tuple[str, ...] = ()
    steps: Ints = field(default_factory=lambda: np.empty((0, 4), np.int64))
    walls: Floats = field(default_factory=lambda: np.empty((0, 4)))
    total: int = 0
    high: int = _LEAST
    cuts: list[tuple[int, int, int]] = field(default_factory=list)
    announced: int | None = None
    waiting: list[Columns] = field(default_factory=list)

    def add(self, points: Columns, starts: list[tuple[int, int]]) -> None:
        """Take the next points and the restarts among them (index in ``points``, step)."""
        at = 0
        for index, step in starts:
            self._follow(points.step[at:index], self.total + at)
            at, self.announced = index, step
        self._follow(points.step[at:], self.total + at)
        self.total += len(points)
        if len(points):
            self.waiting.append(points)
            if len(points) > FEW or len(self.waiting) == LOOKS:
                self.settle()

    def settle(self) -> None:
        """Count what waits. A look at a file brings little, and to count it costs as for much."""
        if self.waiting:
            points = joined(self.waiting)
            self.waiting.clear()
            self._add_tags(points)

    def _follow(self, steps: Ints, begin: int) -> None:
        """Settle an announced restart at the first point after it; follow the highest step."""
        if not len(steps):
            return
        if self.announced is not None:
            step = self.announced or int(steps[0])
            if begin or self.announced:
                self.cuts.append((begin, step, self.high))
            self.high = min(self.high, step - 1)
            self.announced = None
        self.high = max(self.high, int(steps.max()))

    def _add_tags(self, points: Columns) -> None:
        steps, walls, which = _by_tag(points)
        if not self.tags:
            self.tags = tuple(points.tags[i] for i in which.tolist())
            self.steps, self.walls = _rows(*steps), _rows(*walls)
            return
        ids = {tag: i for i, tag in enumerate(self.tags)}
        fresh = [points.tags[i] for i in which.tolist() if points.tags[i] not in ids]
        if fresh:
            self.tags += tuple(fresh)
            ids = {tag: i for i, tag in enumerate(self.tags)}
            empty = np.array([0, 0, np.iinfo(np.int64).max, _LEAST])
            self.steps = np.vstack((self.steps, np.tile(empty, (len(fresh), 1))))
            self.walls = np.vstack((self.walls, np.full((len(fresh), 4), np.nan)))
        row = np.array([ids[points.tags[i]] for i in which.tolist()])
        old, held = self.steps[row].T, self.walls[row].T
        count = old[_COUNT]
        self.steps[row] = _rows(
            count + steps[_COUNT],
            np.where(count > 0, old[_FIRST], steps[_FIRST]),
            np.minimum(old[_LOW], steps[_LOW]),
            np.maximum(old[_HIGH], steps[_HIGH]),
        )
        second = np.where(count == 0, walls[_SECOND], walls[_BEGAN])
        self.walls[row] = _rows(
            np.where(count > 0, held[_BEGAN], walls[_BEGAN]),
            np.where(count > 1, held[_SECOND], second),
            np.where(steps[_COUNT] == 1, held[_LAST], walls[_BEFORE_LAST]),
            walls[_LAST],
        )


def _by_tag(
    points: Columns,
) -> tuple[tuple[Ints, ...], tuple[Floats, ...], npt.NDArray[np.int32]]:
    """Return per tag the steps and wall times that are remembered, and which tag it is."""
    key = points.tag.astype(np.int16) if len(points.tags) < 1 << 15 else points.tag
    order = np.argsort(key, kind="stable")
    tag = points.tag[order]
    change = np.flatnonzero(tag[1:] != tag[:-1]) + 1
    begin, end = np.concatenate(([0], change)), np.concatenate((change, [len(tag)]))
    step, wall = points.step[order], points.wall_time[order]
    count = end - begin
    low, high = np.minimum.reduceat(step, begin), np.maximum.reduceat(step, begin)
    second = np.where(count > 1, wall[np.minimum(begin + 1, end - 1)], np.nan)
    before = np.where(count > 1, wall[np.maximum(end - 2, begin)], np.nan)
    return (
        (count, step[begin], low, high),
        (wall[begin], second, before, wall[end - 1]),
        tag[begin],
    )


def _rows(*columns: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Put columns beside each other; numpy's own way costs more than all they hold."""
    out = np.empty((len(columns[0]), len(columns)), columns[0].dtype)
    for i, column in enumerate(columns):
        out[:, i] = column
    return out


# ---------------------------------------------------------------------------- episodes


@dataclass(frozen=True, slots=True)
class Episode:
    """A stretch of one file, from point ``begin`` on, and what it does to its attempt.

    ``stream`` is 0; concurrent writers of the same tags have streams of their own.
    """

    stream: int
    attempt: int
    file: str
    begin: int
    kind: Literal["new", "more", "resume"]
    step: int | None = None  # a resume takes back the points from this step on


@dataclass(slots=True)
class _Tag:
    count: int
    first: int
    low: int
    high: int
    before_last: float
    last: float


class _Stream:
    """The current attempt of one writer, as far as the files before went."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.attempt = -1
        self.tags: dict[str, _Tag] = {}

    def interleaved(self, facts: Facts) -> bool:
        """Whether both wrote the tag they share at the same time, with two points at least."""
        tag = self._shared(facts)
        if tag is None:
            return False
        row, held = facts.tags.index(tag), self.tags[tag]
        wall = facts.walls[row]
        return bool(held.before_last > wall[_BEGAN] and wall[_SECOND] < held.last)

    def _shared(self, facts: Facts) -> str | None:
        """Return the tag of ``facts`` that has the most points here."""
        both = [tag for tag in facts.tags if tag in self.tags]
        return min(both, key=lambda tag: (-self.tags[tag].count, tag)) if both else None

    def decide(self, facts: Facts) -> tuple[Literal["new", "more", "resume"], int | None]:
        """Say what a file does to this attempt."""
        tag = self._shared(facts)
        said = next((step for begin, step, _ in facts.cuts if begin == 0), None)
        if self.attempt < 0:
            return "new", None
        if tag is None:
            high = max((t.high for t in self.tags.values()), default=_LEAST)
            return ("resume", said) if said is not None and said <= high else ("more", None)
        held, row = self.tags[tag], facts.steps[facts.tags.index(tag)]
        first = int(row[_FIRST]) if said is None else said
        if held.low == held.high == row[_LOW] == row[_HIGH] == 0:
            return "more", None
        if first <= held.first:
            return "new", None
        reach = held.high if said is None else max(t.high for t in self.tags.values())
        return ("resume", first) if first <= reach else ("more", None)

    def take(self, facts: Facts) -> None:
        """Add what a file holds."""
        rows = zip(facts.tags, facts.steps.tolist(), facts.walls.tolist(), strict=True)
        for tag, (count, first, low, high), (_, _, before, last) in rows:
            held = self.tags.get(tag)
            if held is None:
                self.tags[tag] = _Tag(count, first, low, high, before, last)
                continue
            held.count += count
            held.low, held.high = min(held.low, low), max(held.high, high)
            if not before <= held.before_last:
                held.before_last = before
            if not last <= held.last:
                held.last = last

    def take_back(self, step: int) -> None:
        """Drop the points from ``step`` on."""
        for tag, held in list(self.tags.items()):
            held.high = min(held.high, step - 1)
            if held.low > held.high:
                del self.tags[tag]


def episodes(files: Mapping[str, Facts]) -> list[Episode]:
    """Say what each file, in order, does; a file without points does nothing."""
    for facts in files.values():
        facts.settle()
    found: list[Episode] = []
    streams = [_Stream(0)]
    names = sorted((name for name, facts in files.items() if facts.total), key=file_order)
    for name in names:
        facts = files[name]
        stream = next((s for s in streams if not s.interleaved(facts)), None)
        if stream is None:
            stream = _Stream(len(streams))
            streams.append(stream)
        kind, step = stream.decide(facts)
        if kind == "new":
            stream.attempt += 1
            stream.tags.clear()
        elif step is not None:
            stream.take_back(step)
        number, attempt = stream.number, stream.attempt
        found.append(Episode(number, attempt, name, 0, kind, step))
        high = max((t.high for t in stream.tags.values()), default=_LEAST)
        for begin, cut, before in facts.cuts:
            if begin and max(high, before) >= cut:
                found.append(Episode(number, attempt, name, begin, "resume", cut))
                high = min(high, cut - 1)
        if name != names[-1]:
            stream.take(facts)
    return found


# ---------------------------------------------------------------------------- giving out


@dataclass(slots=True)
class Piece:
    """What is new in one stream; the fields are ``Batch``'s."""

    stream: int
    attempt: int
    points: Columns
    fresh: bool = False
    superseded_from: int | None = None
    retained: int = 0


@dataclass(slots=True)
class History:
    """One run directory: what its files hold and what of it was given out. Picklable."""

    files: dict[str, Facts] = field(default_factory=dict)
    given: list[Episode] = field(default_factory=list)

    @property
    def concurrent(self) -> bool:
        """Whether several writers write the same tags at the same time."""
        return any(episode.stream for episode in self.given)

    def update(self, news: Mapping[str, New], whole: Callable[[str], Columns]) -> list[Piece]:
        """Take what is new in each file; return what to give out, in order.

        ``whole`` reads all points of a file again, those in ``news`` included; it is asked only
        on a resume, or when an earlier decision changes.
        """
        if (more := self._more_of_one(news)) is not None:
            return more
        begun = {name: 0 if n.anew else self._total(name) for name, n in news.items()}
        replaced = any(new.anew and self._total(name) for name, new in news.items())
        for name, new in news.items():
            if new.anew or name not in self.files:
                self.files[name] = Facts()
            self.files[name].add(new.points, new.starts)
        before, self.given = self.given, episodes(self.files)
        view = _View(self.given, self.files, news, begun, whole)
        same = self.given[: len(before)] == before and not replaced
        if same and not view.overtaken(len(before)):
            return _merged(view.pieces(len(before)))
        return view.anew(before)

    def _more_of_one(self, news: Mapping[str, New]) -> list[Piece] | None:
        """Take the common case by itself: the only file grows, and nothing is decided anew."""
        if len(self.files) != 1 or len(self.given) != 1 or len(news) != 1:
            return None
        ((name, new),) = news.items()
        facts = self.files.get(name)
        if facts is None or new.anew or new.starts or facts.announced is not None:
            return None
        facts.add(new.points, [])
        only = self.given[0]
        return [Piece(only.stream, only.attempt, new.points)] if len(new.points) else []

    def _total(self, name: str) -> int:
        facts = self.files.get(name)
        return facts.total if facts else 0


@dataclass(frozen=True, slots=True)
class New:
    """What is new in one file; ``anew``: it is another file now, and this is all of it."""

    points: Columns
    starts: list[tuple[int, int]] = field(default_factory=list)
    anew: bool = False


@dataclass(slots=True)
class _View:
    """The episodes with their points at hand."""

    episodes: list[Episode]
    files: Mapping[str, Facts]
    news: Mapping[str, New]
    begun: Mapping[str, int]
    whole: Callable[[str], Columns]
    held: dict[str, Columns] = field(default_factory=dict)

    def overtaken(self, known: int) -> bool:
        """Whether a file grew though a later one of its attempt goes on with the same tags."""
        for i, episode in enumerate(self.episodes[:known]):
            new = self.news.get(episode.file)
            if new is None or not len(new.points):
                continue
            tags = set(new.points.tags)
            for later in self.episodes[i + 1 :]:
                if (
                    later.file != episode.file
                    and (later.stream, later.attempt) == (episode.stream, episode.attempt)
                    and later in self.episodes[:known]
                    and tags.intersection(self.files[later.file].tags)
                ):
                    return True
        return False

    def pieces(self, known: int) -> list[Piece]:
        """Return what is new: growth of the episodes known before, then the others in order.

        A resume gives out its whole attempt again. Of many that come in one look only the last
        ones do, so that it does not cost the square of their number.
        """
        latest = {e.stream: e.attempt for e in self.episodes[:known]}
        passed = self._passed_over(known)
        unsaid = set(passed)
        found = []
        for i, episode in enumerate(self.episodes):
            if i in passed:
                continue
            if i < known:
                if episode.attempt == latest[episode.stream]:
                    points = self._kept(self._fresh_points(i), i, known)
                    found.append(Piece(episode.stream, episode.attempt, points))
            elif episode.kind == "resume":
                mine = {j for j in unsaid if self._of(j) == self._of(i)}
                unsaid -= mine
                parts = self._attempt(i)
                steps = [e.step for j in (*mine, i) if (e := self.episodes[j]).step is not None]
                found.append(
                    Piece(
                        episode.stream,
                        episode.attempt,
                        joined((*parts.values(), self._fresh_points(i))),
                        fresh=True,
                        superseded_from=min(steps, default=None),
                        retained=sum(len(part) for j, part in parts.items() if j not in mine),
                    )
                )
            else:
                points = self._fresh_points(i)
                fresh = episode.kind == "new"
                found.append(Piece(episode.stream, episode.attempt, points, fresh))
        return [piece for piece in found if len(piece.points) or piece.fresh]

    def anew(self, before: Sequence[Episode]) -> list[Piece]:
        """Return each stream's current attempt, whole, with the first step that a resume which is
        not among those ``before`` took back.
        """
        found = []
        for stream in sorted({e.stream for e in self.episodes}):
            mine = [i for i, e in enumerate(self.episodes) if e.stream == stream]
            last = self.episodes[mine[-1]]
            points = joined(self._attempt(mine[-1], whole=True).values())
            unsaid = (self.episodes[i] for i in mine if self._of(i) == self._of(mine[-1]))
            taken = (e.step for e in unsaid if e.step is not None and e not in before)
            step = min(taken, default=None)
            found.append(Piece(stream, last.attempt, points, True, step))
        return found

    def _passed_over(self, known: int) -> frozenset[int]:
        """Return the new episodes after which many resumes of the same attempt follow."""
        passed, resumes = set(), Counter[tuple[int, int]]()
        for i in range(len(self.episodes) - 1, known - 1, -1):
            if resumes[self._of(i)] >= MANY:
                passed.add(i)
            resumes[self._of(i)] += self.episodes[i].kind == "resume"
        return frozenset(passed)

    def _of(self, i: int) -> tuple[int, int]:
        return self.episodes[i].stream, self.episodes[i].attempt

    def _attempt(self, upto: int, *, whole: bool = False) -> dict[int, Columns]:
        """Return the attempt's points before episode ``upto`` (or with it), as it leaves them, by
        episode.
        """
        return {
            i: self._kept(self._points(i), i, upto + 1)
            for i in range(upto + whole)
            if self._of(i) == self._of(upto)
        }

    def _kept(self, points: Columns, i: int, upto: int) -> Columns:
        """Drop what resumes after episode ``i`` and before ``upto`` took back."""
        mine = self.episodes[i]
        steps = [
            e.step
            for e in self.episodes[i + 1 : upto]
            if e.step is not None and (e.stream, e.attempt) == (mine.stream, mine.attempt)
        ]
        return points.take(points.step < min(steps)) if steps and len(points) else points

    def _end(self, i: int) -> int:
        """Return the index, in its file, of the first point after episode ``i``."""
        if i + 1 < len(self.episodes) and self.episodes[i + 1].file == self.episodes[i].file:
            return self.episodes[i + 1].begin
        return self.files[self.episodes[i].file].total

    def _fresh_points(self, i: int) -> Columns:
        """Return the points of episode ``i`` that are in the news."""
        episode = self.episodes[i]
        if episode.file not in self.news:
            return no_points()
        new, begun = self.news[episode.file], self.begun[episode.file]
        return new.points.take(slice(max(0, episode.begin - begun), max(0, self._end(i) - begun)))

    def _points(self, i: int) -> Columns:
        """Return all points of episode ``i``, read again if need be."""
        episode = self.episodes[i]
        if self.begun.get(episode.file, 1) == 0:
            return self._fresh_points(i)
        if episode.file not in self.held:
            self.held[episode.file] = self.whole(episode.file)
        return self.held[episode.file].take(slice(episode.begin, self._end(i)))


def _merged(pieces: list[Piece]) -> list[Piece]:
    """Join a piece with the one before it where that is merely more of the same."""
    found: list[Piece] = []
    parts: list[list[Columns]] = []
    for piece in pieces:
        last = found[-1] if found else None
        more = last and not piece.fresh
        if last and more and (last.stream, last.attempt) == (piece.stream, piece.attempt):
            parts[-1].append(piece.points)
        else:
            found.append(piece)
            parts.append([piece.points])
    for piece, columns in zip(found, parts, strict=True):
        piece.points = joined(columns)
    return found

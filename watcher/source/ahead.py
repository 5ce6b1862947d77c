"""Look into many run directories, several at once, and take what they brought in order.

A file on a network mount keeps its reader waiting, and on a local disk one core can scan while
another settles what came before: so chunks of visits are given to a few threads. Only a little is
read ahead of what is taken, so that memory stays bounded.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, islice
from threading import Lock

from watcher.model import WallTime
from watcher.source import follow
from watcher.source.follow import Cursor, News
from watcher.source.mounts import is_local

_CHUNK = 32  # visits that a thread makes at a time
_ENOUGH = 100_000  # points, after which it hands over what it has
_MUCH = 500  # points a visit from which on a thread pays
_FEW = 8  # visits, one by one, that tell how much the others will bring
_LOCAL, _REMOTE = min(os.cpu_count() or 1, 8), 16  # threads


@dataclass(slots=True)
class Visit:
    """Files of one run directory that are to be looked into, and what they brought, in order."""

    run: str  # its path
    cursors: dict[str, Cursor]  # by file name
    plugins: dict[str, str]
    known: dict[str, bool] = field(init=False)  # whether it was looked into before
    brought: dict[str, News | OSError | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Note what is known already: looking changes it."""
        self.known = {name: not cursor.first_look for name, cursor in self.cursors.items()}

    def __len__(self) -> int:
        """Count the points it brought."""
        return sum(len(news.points) for news in self.brought.values() if isinstance(news, News))


@dataclass(frozen=True, slots=True)
class Readers:
    """How many threads read, and whether each file keeps its reader waiting."""

    threads: int
    wait: bool = False


def readers_for(root: str) -> Readers:
    """Return what reads well from there."""
    return Readers(_LOCAL) if is_local(root) else Readers(_REMOTE, wait=True)


def made(
    visits: Iterable[Visit], readers: Readers, now: WallTime, grace: float
) -> Iterator[Visit]:
    """Make the visits; yield each in its turn. Never raises for what is wrong with a file.

    ``visits`` is drawn from as far as is read ahead, and whatever was drawn is yielded. Where
    files are near and have little to tell, threads would only wait for each other.
    """
    line, count, points = iter(visits), 0, 0
    while count < _FEW or not (readers.wait or points >= _MUCH * count):
        chunk = list(islice(line, _size(count, points)))
        if not chunk:
            return
        while chunk:
            done = _make(chunk, now, grace)
            count, points = count + done, points + sum(map(len, chunk[:done]))
            yield from chunk[:done]
            chunk = chunk[done:]
    if (following := next(line, None)) is None:
        return
    line = chain([following], line)
    with ThreadPoolExecutor(readers.threads, "reader") as pool:
        under_way: deque[tuple[list[Visit], Future[int]]] = deque()
        while True:
            size = _size(count, points)
            while len(under_way) <= readers.threads and (chunk := list(islice(line, size))):
                under_way.append((chunk, _begun(pool, chunk, now, grace)))
            if not under_way:
                return
            chunk, future = under_way.popleft()
            done = future.result()
            if rest := chunk[done:]:
                under_way.appendleft((rest, _begun(pool, rest, now, grace)))
            count, points = count + done, points + sum(map(len, chunk[:done]))
            yield from chunk[:done]


def _begun(
    pool: ThreadPoolExecutor, visits: Sequence[Visit], now: WallTime, grace: float
) -> Future[int]:
    """Have visits made by a thread; here and now where no thread is to be had.

    A pool that cannot start a thread has put the work in line all the same, and another of its
    threads may take it, or never any: whoever is first makes the visits, the other finds how many.
    """
    turn, how_many = Lock(), list[int]()

    def make() -> int:
        with turn:
            if not how_many:
                how_many.append(_make(visits, now, grace))
            return how_many[0]

    try:
        return pool.submit(make)
    except RuntimeError:  # can't start new thread
        done: Future[int] = Future()
        done.set_result(make())
        return done


def _size(count: int, points: int) -> int:
    """Return how many visits to make at a time, by how much those before brought."""
    if count < _FEW:
        return 1
    return max(1, min(_CHUNK, _ENOUGH * count // max(points, 1)))


def _make(visits: Sequence[Visit], now: WallTime, grace: float) -> int:
    """Make visits until they brought enough; return how many."""
    seen = follow.glimpsed([(next(iter(v.cursors.values())), v.plugins) for v in visits])
    points = 0
    for i, (visit, glimpse) in enumerate(zip(visits, seen, strict=True)):
        if points >= _ENOUGH and glimpse is None:
            return i
        for name, cursor in visit.cursors.items():
            try:
                visit.brought[name] = follow.look(cursor, visit.plugins, now, grace, glimpse)
            except OSError as error:
                visit.brought[name] = error
            glimpse = None  # what the first file said of the tags counts for the others
        points += len(visit)
    return len(visits)

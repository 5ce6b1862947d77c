"""What is new under these roots? Discovery, following and attempts, put together.

A poll asks for the size of each known file, reads what grew, and gives out batches. Everything
held between polls is plain data, so that a service that restarts goes on where it was.
"""

# ruff: noqa: PTH100, PTH110, PTH118
# Paths are plain strings here: making a Path costs more than the system call it is for.

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from watcher import heap
from watcher.attempts import History, New, file_order
from watcher.clock import SystemClock
from watcher.errors import LogdirError
from watcher.model import (
    Ailment,
    Batch,
    Columns,
    Health,
    Poll,
    RunKey,
    Signs,
    WallTime,
    no_points,
)
from watcher.source import follow
from watcher.source.ahead import Visit, made, readers_for
from watcher.source.discover import LONGEST_PAUSE, PAUSE, Directory, Found, Tree
from watcher.source.follow import Cursor, News
from watcher.source.listing import DONE_MARKERS, Look
from watcher.source.rundir import End, RunDir, packed, plain, unpacked
from watcher.source.skew import Skew

AnyPath = str | os.PathLike[str]
# Seconds after it grew that a file on a network mount is opened at each poll, not only asked for
# its size: what such a mount says of a size may be old until the file is opened.
_HOT_FOR = 300.0
_VERSION = 2
PART = 500  # directories or runs in one part of what is kept over a restart
_FIRST_SIGHT = 20_000  # points that a run directory counts for when it is first read
_UNLIMITED = 1 << 62


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How roots are read.

    ``symlinks`` and ``prune`` (globs): where discovery goes. ``corrupt_grace``: seconds that a
    broken record is retried. ``directories_per_poll`` and ``points_per_poll``: how much of what
    is new one poll takes on; the rest follows at the next. ``longest_rest``: seconds that a run
    is left alone at most. What a run brings is seen late by a sixtieth of the silence before it,
    and by no more than that; a filer is spared asking for each file it ever held at each poll.
    """

    symlinks: Literal["never", "within-root", "always"] = "never"
    prune: tuple[str, ...] = ()
    corrupt_grace: float = 600.0
    done_markers: tuple[str, ...] = DONE_MARKERS
    directories_per_poll: int = 20_000
    points_per_poll: int = 5_000_000
    longest_rest: float = 60.0


ONE_SHOT = SourceOptions(
    symlinks="always",
    corrupt_grace=0.0,
    directories_per_poll=_UNLIMITED,
    points_per_poll=_UNLIMITED,
    longest_rest=0.0,
)


@dataclass(slots=True)
class _Trouble:
    """A file that could not be read: when it is tried again."""

    retry_at: WallTime
    wait: float


class _Root:
    """One root and the runs under it."""

    def __init__(self, path: str, options: SourceOptions) -> None:
        self.path = path
        look = Look(
            options.symlinks, options.prune, options.done_markers, options.directories_per_poll
        )
        self.readers = readers_for(path)
        at_once = self.readers.threads if self.readers.wait else 1
        self.tree = Tree(os.path.abspath(path), look, at_once)
        self.runs: dict[str, RunDir] = {}  # by directory
        self.hot: dict[str, WallTime] = {}
        self.trouble: dict[str, _Trouble] = {}
        self.skew = Skew()

    def restore(self, part: Mapping[str, Any]) -> None:
        """Take one part of a snapshot."""
        self.tree.device = part.get("device", -1)
        self.tree.adopt([Directory(**d) for d in part["directories"]])
        for held in part["runs"]:
            self.runs[held["path"]] = unpacked(held, self.path)


class Logdir:
    """Event files under some roots.

    Not to be shared between threads. One slow or broken root delays the others of the same
    instance, so a service gives each root its own.
    """

    def __init__(self, roots: Sequence[AnyPath], options: SourceOptions = SourceOptions()) -> None:
        self._options = options
        self._roots = {os.fspath(root): _Root(os.fspath(root), options) for root in roots}
        self._health: dict[str, Ailment] = {}
        self.behind = False  # the last poll left something for the next

    @property
    def health(self) -> Mapping[str, Ailment]:
        """What ails at the moment, by path; ``Poll.ailments`` are the changes."""
        return self._health

    @property
    def skipped_bytes(self) -> int:
        """How many damaged bytes were skipped, in the files there are now. Any thread may ask."""
        runs = [run for root in self._roots.values() for run in list(root.runs.values())]
        return sum(cursor.skipped for run in runs for cursor in list(run.cursors.values()))

    def poll(self, now: WallTime) -> Poll:
        """Return what is new. Never raises for what is wrong with a file or directory."""
        with heap.filling():
            return self._poll(now)

    def _poll(self, now: WallTime) -> Poll:
        batches: list[Batch] = []
        ailments: list[Ailment] = []
        unreachable: dict[str, str] = {}
        self.behind = False
        for name, root in self._roots.items():
            found = root.tree.sweep(now)
            if found.unreachable:
                unreachable[name] = found.unreachable
                continue
            self.behind |= not root.tree.complete
            ailments += found.ailments
            batches += self._discovered(root, found, now)
            grown, gone = self._grown(root, now, ailments)
            for run, news in grown:
                batches += self._batches(run, news, now, ailments)
            batches += gone
            if (said := root.skew.news()) is not None:
                state = Health.SKEWED if said else Health.OK
                ailments.append(Ailment(root.path, state, said or "the clocks agree again"))
        return Poll(tuple(batches), tuple(self._changes(ailments)), unreachable)

    def expect(self, root: str) -> None:
        """Take this root for unreachable while it is empty: runs in it are known from before."""
        self._roots[root].tree.expected = True

    def reread(self, directories: Iterable[RunKey]) -> None:
        """Give out everything in these run directories once more, at the next polls."""
        wanted = {key.run for key in directories}
        for root in self._roots.values():
            for run in root.runs.values():
                if run.key.run not in wanted:
                    continue
                run.history, run.attempts, run.rests_until = History(), {}, 0.0
                for name, cursor in run.cursors.items():
                    # damage in what was read before was settled then
                    run.cursors[name] = Cursor(cursor.path, aged_size=cursor.offset)

    def files(
        self, now: WallTime, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> Iterator[tuple[RunKey, dict[str, News], list[Ailment]]]:
        """Read everything there is, a run directory at a time, without settling attempts.

        The files of a directory come in order; ``progress`` hears how many directories of a root
        are read, and how many there are. Raises LogdirError if a root cannot be read.
        """
        with heap.filling():
            yield from self._files(now, progress)

    def _files(
        self, now: WallTime, progress: Callable[[int, int], None]
    ) -> Iterator[tuple[RunKey, dict[str, News], list[Ailment]]]:
        for root in self._roots.values():
            unlisted: list[Ailment] = []
            while True:
                found = root.tree.sweep(now)
                if found.unreachable:
                    raise LogdirError(_unreadable(root.path, found.unreachable))
                self._discovered(root, found, now)
                unlisted += found.ailments
                if root.tree.complete:
                    break
            if unlisted:
                yield RunKey(root.path, "."), {}, unlisted
            runs = [root.runs[path] for path in sorted(root.runs)]
            visits = (_visit(run, list(run.cursors)) for run in runs)
            read = made(visits, root.readers, now, self._options.corrupt_grace)
            for number, visit in enumerate(read, 1):
                ailments = list[Ailment]()
                news = self._brought(root, visit, now, ailments)
                progress(number, len(runs))
                yield root.runs[visit.run].key, news, ailments

    # ---------------------------------------------------------------- discovery

    def _discovered(self, root: _Root, found: Found, now: WallTime) -> list[Batch]:
        """Take up new files; say which directories are gone or were marked as done."""
        for directory, name in found.files:
            run = root.runs.get(directory.path)
            if run is None:
                key = RunKey(root.path, directory.run)
                run = root.runs[directory.path] = RunDir(
                    key,
                    directory.path,
                    directory.marker,
                    directory.marked_ns,
                    stirred_at=now,
                )
            run.rests_until = 0.0
            if name not in run.cursors:
                run.cursors[name] = Cursor(os.path.join(directory.path, name))
        batches = []
        for directory in found.gone:
            self._health.pop(directory.path, None)
            gone = root.runs.pop(directory.path, None)
            if gone is not None:
                for cursor in gone.cursors.values():
                    self._drop(root, cursor.path)
                batches += [self._empty(gone, stream, now, gone=True) for stream in _streams(gone)]
        for directory in found.marked:
            run = root.runs.get(directory.path)
            if run is not None and run.marked_ns != directory.marked_ns:
                run.marker, run.marked_ns = directory.marker, directory.marked_ns
                batches += [self._empty(run, stream, now) for stream in _streams(run)]
        return batches

    # ---------------------------------------------------------------- reading

    def _grown(
        self, root: _Root, now: WallTime, ailments: list[Ailment]
    ) -> tuple[list[tuple[RunDir, dict[str, News]]], list[Batch]]:
        """Read what changed, within the budget; the next poll goes on behind it."""
        grown: list[tuple[RunDir, dict[str, News]]] = []
        missing: set[str] = set()
        left = self._options.points_per_poll

        def within_budget() -> Iterator[Visit]:
            nonlocal left
            for visit in self._changed(root, now, missing, ailments):
                yield visit
                if not (root.runs[visit.run].attempts or any(visit.known.values())):
                    left -= _FIRST_SIGHT  # its windows are made, which costs more than its points
                if left <= 0:
                    self.behind = True
                    self._put_last(root, visit.run)
                    return

        visits = within_budget()
        for visit in made(visits, root.readers, now, self._options.corrupt_grace):
            news = self._brought(root, visit, now, ailments)
            if news:
                grown.append((root.runs[visit.run], news))
                left -= len(visit)
            root.runs[visit.run].asked_at = now
        return grown, self._missing(root, missing, now, ailments)

    def _changed(
        self, root: _Root, now: WallTime, missing: set[str], ailments: list[Ailment]
    ) -> Iterator[Visit]:
        """Ask each known file that does not rest for its size; yield those that changed."""
        grace, longest = self._options.corrupt_grace, self._options.longest_rest
        ask, hot, trouble = os.stat, root.hot, root.trouble
        for run in root.runs.values():
            if 0 < run.rests_until - now <= longest:  # more, and the clock was set back
                continue
            changed, quiet = [], True
            for name, cursor in run.cursors.items():
                path = cursor.path
                if hot and path in hot:
                    if hot[path] > now:
                        changed.append(name)
                        continue
                    del hot[path]
                failed = trouble.get(path) if trouble else None
                if failed is not None:
                    quiet = False
                    if 0 < failed.retry_at - now <= failed.wait:
                        continue
                try:
                    info = ask(path)
                except OSError as error:
                    quiet = False
                    if error.errno in (errno.ENOENT, errno.ENOTDIR):
                        missing.add(run.path)
                    else:
                        self._failed(root, path, error, now, ailments)
                    continue
                if (
                    info.st_mtime_ns != cursor.mtime_ns
                    or info.st_size != cursor.size
                    or info.st_ino != cursor.inode
                    or cursor.first_look
                    or failed is not None
                    or (cursor.stuck_since is not None and follow.due(cursor, now, grace))
                ):
                    changed.append(name)
                elif cursor.stuck_since is not None and follow.unsettled(cursor):
                    quiet = False
            if quiet and not changed:
                run.rest(now, longest)
            if changed:
                yield _visit(run, changed)
            else:
                run.asked_at = now

    def _put_last(self, root: _Root, last: str) -> None:
        """Begin the next poll after this run, so that each has its turn."""
        paths = list(root.runs)
        turn = paths.index(last) + 1
        root.runs = {path: root.runs[path] for path in paths[turn:] + paths[:turn]}

    def _brought(
        self, root: _Root, visit: Visit, now: WallTime, ailments: list[Ailment]
    ) -> dict[str, News]:
        """Take what a visit brought; return what is news."""
        found: dict[str, News] = {}
        run = root.runs[visit.run]
        for name, news in visit.brought.items():
            cursor = visit.cursors[name]
            if isinstance(news, OSError):
                root.hot.pop(cursor.path, None)
                self._failed(root, cursor.path, news, now, ailments)
                continue
            root.trouble.pop(cursor.path, None)
            if news is None:
                continue
            ailments += news.ailments
            self._recovered(cursor, news, ailments)
            if news.grown or news.anew or len(news.points) or news.finished is not None:
                found[name] = news
                run.stirred_at = now
                if news.finished is not None:
                    run.ends[name] = End(news.finished, cursor.mtime_ns, news.written_on)
                if visit.known[name]:
                    if len(news.points):
                        newest = float(news.points.wall_time[-1])
                        root.skew.take(newest, run.asked_at, now)
                    if root.readers.wait:
                        root.hot[cursor.path] = now + _HOT_FOR
                    root.tree.stir(run.path, now)
        return found

    def _failed(
        self, root: _Root, path: str, error: OSError, now: WallTime, ailments: list[Ailment]
    ) -> None:
        before = root.trouble.get(path)
        wait = min(before.wait * 2, LONGEST_PAUSE) if before else PAUSE
        root.trouble[path] = _Trouble(now + wait, wait)
        detail = f"cannot be read ({error.strerror}); tried again with growing pauses"
        ailments.append(Ailment(path, follow.health(error), detail))

    def _recovered(self, cursor: Cursor, news: News, ailments: list[Ailment]) -> None:
        """Take back what was said of a file that can be read wholly now."""
        before = self._health.get(cursor.path)
        if before is None or news.ailments:
            return
        if cursor.skipped == 0 and not cursor.reported:
            ailments.append(Ailment(cursor.path, Health.OK, "read wholly again"))
        elif before.health not in (Health.DAMAGED, Health.TRUNCATED):
            detail = f"{cursor.skipped} damaged bytes were skipped"
            ailments.append(Ailment(cursor.path, Health.DAMAGED, detail, cursor.skipped))

    def _missing(
        self, root: _Root, paths: set[str], now: WallTime, ailments: list[Ailment]
    ) -> list[Batch]:
        """Settle files that vanished: with their directory, or alone; what they gave stays."""
        batches: list[Batch] = []
        for path in paths:
            run = root.runs[path]
            found = root.tree.look_now(path, now)
            batches += self._discovered(root, found, now)
            for name, cursor in list(run.cursors.items()):
                if not os.path.lexists(cursor.path):
                    del run.cursors[name]
                    self._drop(root, cursor.path)
                elif not os.path.exists(cursor.path):
                    error = FileNotFoundError(errno.ENOENT, "its target is gone")
                    self._failed(root, cursor.path, error, now, ailments)
        return batches

    def _drop(self, root: _Root, path: str) -> None:
        """Forget what was held about a file that is gone."""
        for held in (root.trouble, root.hot, self._health):
            held.pop(path, None)

    # ---------------------------------------------------------------- batches

    def _batches(
        self,
        run: RunDir,
        news: dict[str, News],
        now: WallTime,
        ailments: list[Ailment],
    ) -> list[Batch]:
        """Settle the attempts of one run directory."""

        def whole(name: str) -> Columns:
            cursor = run.cursors.get(name)
            return follow.whole(cursor.path, cursor.offset, run.plugins) if cursor else no_points()

        was_concurrent = run.history.concurrent
        new, begun = {}, list[WallTime]()
        known = any(facts.total for facts in run.history.files.values())
        for name, n in news.items():
            before = run.cursors[name].points - len(n.points)
            held = run.history.files.get(name)
            anew = n.anew or (held is not None and held.total != before)  # it was gone meanwhile
            new[name] = New(n.points, n.starts, anew)
            if before == 0 and len(n.points):
                if known:  # the first file of all is the beginning, and no restart
                    begun.append(float(n.points.wall_time[0]))
                known = True
        pieces = run.history.update(new, whole)
        if run.history.concurrent and not was_concurrent:
            detail = "several files with the same tags are written at the same time: kept apart"
            ailments.append(Ailment(run.path, Health.CONCURRENT, detail))
        seen_at = max(n.seen_at for n in news.values())
        run.attempts.update((p.stream, p.attempt) for p in pieces)
        if not pieces:
            return [self._empty(run, stream, now, seen_at) for stream in _streams(run)]
        last = {piece.stream: piece for piece in pieces}
        signs = run.signs()  # of where each writer is now, not of its earlier tries
        return [
            Batch(
                _key(run, piece.stream),
                piece.attempt,
                piece.points,
                now,
                seen_at,
                piece.fresh,
                piece.superseded_from,
                piece.retained,
                tuple(begun),
                signs=signs if piece is last[piece.stream] else Signs(),
            )
            for piece in pieces
        ]

    def _empty(
        self,
        run: RunDir,
        stream: int,
        now: WallTime,
        seen_at: WallTime | None = None,
        *,
        gone: bool = False,
    ) -> Batch:
        seen_at = now if seen_at is None else seen_at
        attempt, signs = run.attempts.get(stream, 0), run.signs()
        return Batch(_key(run, stream), attempt, no_points(), now, seen_at, gone=gone, signs=signs)

    def _changes(self, ailments: list[Ailment]) -> Iterator[Ailment]:
        """Remember what ails; pass on what is new."""
        for ailment in ailments:
            before = self._health.get(ailment.path)
            if ailment == before:
                continue
            if ailment.health is Health.OK:
                self._health.pop(ailment.path, None)
            else:
                self._health[ailment.path] = ailment
            yield ailment

    # ---------------------------------------------------------------- restarting

    def snapshot(self) -> Iterator[dict[str, Any]]:
        """Yield all that is held, as plain data: dicts, lists, numbers and numpy arrays.

        In parts of bounded size, so that it never exists as a whole beside what it is a copy of.
        """
        for name, root in self._roots.items():
            directories, runs = list(root.tree.directories.values()), list(root.runs.values())
            for at in range(0, max(len(directories), len(runs)), PART):
                yield {
                    "version": _VERSION,
                    "root": name,
                    "device": root.tree.device,
                    "directories": [plain(d) for d in directories[at : at + PART]],
                    "runs": [packed(run) for run in runs[at : at + PART]],
                }

    def restore(self, parts: Iterable[Mapping[str, Any]]) -> None:
        """Go on from a snapshot; roots that are not in it, or another version, begin anew.

        Each file is opened once more and compared with its last record before it is gone on with.
        """
        for part in parts:
            if part.get("version") == _VERSION and part["root"] in self._roots:
                self._roots[part["root"]].restore(part)


def read_once(
    roots: Sequence[AnyPath], options: SourceOptions = ONE_SHOT, now: WallTime | None = None
) -> Poll:
    """Read everything under ``roots`` once: links followed, damage settled at once.

    Raises LogdirError if a root cannot be read at all.
    """
    poll = Logdir(roots, options).poll(SystemClock().now() if now is None else now)
    for root, why in poll.unreachable.items():
        raise LogdirError(_unreadable(root, why))
    return poll


def _unreadable(root: str, why: str) -> str:
    if not Path(root).exists():
        return f"{root}: no such directory or event file; give the directory that holds the runs"
    return f"{root}: cannot be read: {why}"


def _visit(run: RunDir, names: Sequence[str]) -> Visit:
    ordered = sorted(names, key=file_order) if len(names) > 1 else names
    return Visit(run.path, {name: run.cursors[name] for name in ordered}, run.plugins)


def _streams(run: RunDir) -> list[int]:
    return sorted(run.attempts) or [0]


def _key(run: RunDir, stream: int) -> RunKey:
    """Name a stream; concurrent writers of one directory are told apart by a number."""
    return RunKey(run.key.root, f"{run.key.run}#{stream + 1}") if stream else run.key

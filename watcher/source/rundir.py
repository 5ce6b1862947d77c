"""What is held of one run directory between polls? Its files, their cursors, its attempts.

All of it is plain data, so that a service that restarts goes on where it was.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from watcher.attempts import Episode, Facts, History, file_order
from watcher.model import LATE, RunKey, Signs, WallTime
from watcher.source.follow import Cursor

_REST = 1 / 60  # of how long a run was silent: until it is asked again


class End(NamedTuple):
    """What a file says of the end: "" if it took it back; when it was last written then, and for
    how many seconds it had gone on since, by its points' own times.
    """

    said: str
    mtime_ns: int
    written_on: float


@dataclass(slots=True)
class RunDir:
    """One run directory, as it is followed."""

    key: RunKey
    path: str
    marker: str = ""
    marked_ns: int = 0
    plugins: dict[str, str] = field(default_factory=dict)
    cursors: dict[str, Cursor] = field(default_factory=dict)
    ends: dict[str, End] = field(default_factory=dict)  # by file, where it says something
    history: History = field(default_factory=History)
    attempts: dict[int, int] = field(default_factory=dict)  # the current one of each stream
    stirred_at: WallTime = 0.0  # when we first saw it, or saw it change
    asked_at: WallTime = 0.0
    rests_until: WallTime = 0.0

    def signs(self) -> Signs:
        """Say why the current attempt counts as complete, if something still says so.

        Nothing does once the files were written to for longer after it than any writer keeps its
        last points back; that is asked of one clock at a time, the file server's or the run's.
        """
        ignored = sum(cursor.ignored for cursor in self.cursors.values())
        if not (self.ends or self.marker):
            return Signs(ignored=ignored)
        newest = max((cursor.mtime_ns for cursor in self.cursors.values()), default=0)
        given = [e.file for e in self.history.given if e.kind == "new" and e.stream == 0]
        first = file_order(given[-1]) if given else (0, "")
        said = [end for name, end in self.ends.items() if file_order(name) >= first]
        if self.marker:
            said.append(End(f"found {self.marker}", self.marked_ns, 0.0))
        for end in sorted(said, key=lambda end: end.mtime_ns, reverse=True):
            if not end.said:
                break  # it takes back what was said before
            late = (newest - end.mtime_ns) / 1e9
            if max(late, end.written_on) <= LATE:
                return Signs(end.said, late <= 0 and end.written_on == 0, ignored)
        return Signs(ignored=ignored)

    def rest(self, now: WallTime, longest: float) -> None:
        """Leave it alone for a while. Runs that fell silent together do not wake together."""
        spread = 0.75 + zlib.crc32(os.fsencode(self.path)) / (1 << 34)
        self.rests_until = now + spread * min(_REST * (now - self.stirred_at), longest)


def plain(thing: Any) -> dict[str, Any]:
    """Return a dataclass as a dict of its fields."""
    return {f.name: getattr(thing, f.name) for f in fields(thing)}


def packed(run: RunDir) -> dict[str, Any]:
    """Return a run directory as dicts, lists, numbers and numpy arrays."""
    for facts in run.history.files.values():
        facts.settle()
    history = {
        "files": {name: plain(facts) for name, facts in run.history.files.items()},
        "given": [plain(episode) for episode in run.history.given],
    }
    cursors = {name: plain(cursor) for name, cursor in run.cursors.items()}
    ends = {name: tuple(end) for name, end in run.ends.items()}
    own = {"key": run.key.run, "cursors": cursors, "history": history, "ends": ends}
    return plain(run) | own


def unpacked(held: Mapping[str, Any], root: str) -> RunDir:
    """Return what ``packed`` kept; each of its files is looked at as if for the first time."""
    history = History(
        {name: Facts(**facts) for name, facts in held["history"]["files"].items()},
        [Episode(**episode) for episode in held["history"]["given"]],
    )
    cursors = {name: Cursor(**cursor) for name, cursor in held["cursors"].items()}
    for cursor in cursors.values():
        cursor.first_look = True
    key = RunKey(root, held["key"])
    ends = {name: End(*end) for name, end in held["ends"].items()}
    rest = {"key": key, "cursors": cursors, "history": history, "ends": ends, "rests_until": 0.0}
    return RunDir(**(dict(held) | rest))

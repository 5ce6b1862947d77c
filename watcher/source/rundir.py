"""What is held of one run directory between polls? Its files, their cursors, its attempts.

All of it is plain data, so that a service that restarts goes on where it was.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from watcher.attempts import Episode, Facts, History
from watcher.model import RunKey, WallTime
from watcher.source.follow import Cursor

_REST = 1 / 60  # of how long a run was silent: until it is asked again


@dataclass(slots=True)
class RunDir:
    """One run directory, as it is followed."""

    key: RunKey
    path: str
    marker: str = ""
    marked_ns: int = 0
    signs: int = 0  # of the end that came or went
    plugins: dict[str, str] = field(default_factory=dict)
    cursors: dict[str, Cursor] = field(default_factory=dict)
    finished: dict[str, str] = field(default_factory=dict)  # by file, where it says something
    history: History = field(default_factory=History)
    attempts: dict[int, int] = field(default_factory=dict)  # the current one of each stream
    stirred_at: WallTime = 0.0  # when we first saw it, or saw it change
    asked_at: WallTime = 0.0
    rests_until: WallTime = 0.0

    def rest(self, now: WallTime, longest: float) -> None:
        """Leave it alone for a while. Runs that fell silent together do not wake together."""
        spread = 0.75 + zlib.crc32(os.fsencode(self.path)) / (1 << 34)
        self.rests_until = now + spread * min(_REST * (now - self.stirred_at), longest)


def plain(thing: Any) -> dict[str, Any]:
    """Return a dataclass as a dict of its fields."""
    return {f.name: getattr(thing, f.name) for f in fields(thing)}


def packed(run: RunDir) -> dict[str, Any]:
    """Return a run directory as dicts, lists, numbers and numpy arrays."""
    history = {
        "files": {name: plain(facts) for name, facts in run.history.files.items()},
        "given": [plain(episode) for episode in run.history.given],
    }
    cursors = {name: plain(cursor) for name, cursor in run.cursors.items()}
    return plain(run) | {"key": run.key.run, "cursors": cursors, "history": history}


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
    rest = {"key": key, "cursors": cursors, "history": history, "rests_until": 0.0}
    return RunDir(**(dict(held) | rest))

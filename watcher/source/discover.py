"""Which run directories and event files exist under a root?

By looking only: network filesystems send no change events. The first sweeps list everything,
breadth first, within a budget; after that a few directories are looked at each time, first those
where something happened lately, ten times more seldom the quiet ones. A directory's mtime saves
listing it again, but it is not trusted: every twentieth look lists it all the same.
"""

# ruff: noqa: PTH116, PTH118, PTH119, PTH120, PTH208
# Paths are plain strings here: making a Path costs more than the system call it is for.

from __future__ import annotations

import fnmatch
import os
import stat
from collections import deque
from dataclasses import dataclass, field

from watcher.model import Ailment, Health, WallTime
from watcher.source.follow import health
from watcher.source.listing import Listing, Look, all_listed, listed

_PRUNED = frozenset({"__pycache__", "node_modules"})
_ACTIVE_FOR = 3600.0  # seconds after the last sign of life
_RACY_NS = 2_000_000_000  # a directory listed this soon after a change may change unnoticed
_LIST_EVERY = 20  # looks
PAUSE, LONGEST_PAUSE = 30.0, 600.0  # seconds until an error is tried again; doubles each time
_LEAST_LOOKS, _SHARE = 32, 32  # directories a sweep: at least so many, else this part of all
_AT_ONCE = 1000  # new directories that are listed before they are taken up


@dataclass(slots=True)
class Directory:
    """One directory as last seen. ``run`` is its path relative to the root; ``.`` is the root."""

    path: str
    run: str
    real: str
    mtime_ns: int = -1
    looks: int = 0
    racy: bool = True
    files: tuple[str, ...] = ()
    subdirs: tuple[str, ...] = ()
    marker: str = ""
    marked_ns: int = 0
    active_until: WallTime = 0.0


@dataclass(slots=True)
class Found:
    """What a sweep brought. ``marked``: directories in which a done marker came, was
    written again, or went.
    """

    files: list[tuple[Directory, str]] = field(default_factory=list)
    gone: list[Directory] = field(default_factory=list)
    marked: list[Directory] = field(default_factory=list)
    ailments: list[Ailment] = field(default_factory=list)
    unreachable: str = ""


class Tree:
    """The directories under one root; new ones are listed by ``threads`` at a time."""

    def __init__(self, root: str, look: Look, threads: int = 1) -> None:
        self.root, self.look, self.threads = root, look, threads
        self.directories: dict[str, Directory] = {}
        self._real = ""  # known from the first sweep on: nothing here asks a mount that may hang
        self._seen: set[str] = set()
        self._new: deque[Directory] = deque()
        self._links: deque[tuple[str, str]] = deque()
        self._turn: deque[str] = deque()
        self._active: deque[str] = deque()
        self.device = -1  # that the root was last on
        self._inode = -1
        self.expected = False  # something is to be found, as it was before a restart
        self._unlisted: dict[str, tuple[WallTime, float]] = {}  # until when not to try, and pause

    @property
    def complete(self) -> bool:
        """Whether every directory has been listed once."""
        return not (self._new or self._links)

    def sweep(self, now: WallTime) -> Found:
        """List what is new within the budget, and look again at some of what is known."""
        found = Found()
        try:
            info = os.stat(self.root)
            if stat.S_ISREG(info.st_mode):
                if self.root in self.directories:
                    found.unreachable = f"{self.root} is a file now; it was a directory"
                else:
                    self._single(found)
                return found
            found.unreachable = self._lost_mount(info)
        except OSError as error:
            found.unreachable = f"{health(error)}: {self.root}"
        if found.unreachable:
            return found
        if not self._real:
            self._real = os.path.realpath(self.root)
        if not self.directories and not self._new:
            self._enter(self.root, ".", self._real)
        if self.root in self._unlisted:
            self._look_again(self.root, found, now)
            if self.root in self._unlisted:
                return self._shut(found)
        for path in self._next_looks(now):
            self._look_again(path, found, now)
        budget = self.look.budget
        while budget and not self.complete:
            if not self._new:
                budget -= 1
                self._enter_link(*self._links.popleft())
                continue
            new = [self._new.popleft() for _ in range(min(budget, _AT_ONCE, len(self._new)))]
            budget -= len(new)
            listings = all_listed([d.path for d in new], self.look, self._real, self.threads)
            for directory, listing in zip(new, listings, strict=True):
                self.directories[directory.path] = directory
                self._turn.append(directory.path)
                self._take(directory, listing, found, now)
            if self.root in self._unlisted:
                return self._shut(found)
        return found

    def stir(self, path: str, now: WallTime) -> None:
        """Note a sign of life in a directory: it and those above it are looked at more often."""
        while (directory := self.directories.get(path)) is not None:
            if directory.active_until > now + _ACTIVE_FOR * 0.9:
                return
            if directory.active_until <= now:
                self._active.append(path)
            directory.active_until = now + _ACTIVE_FOR
            path = os.path.dirname(path)

    def look_now(self, path: str, now: WallTime) -> Found:
        """Look at one directory at once: a file in it is gone."""
        found = Found()
        self._look_again(path, found, now)
        return found

    def adopt(self, directories: list[Directory]) -> None:
        """Take directories known from before; each is looked at again in its turn."""
        for directory in directories:
            self.directories[directory.path] = directory
            self._seen.add(directory.real)
            self._turn.append(directory.path)
            directory.racy = True

    def _shut(self, found: Found) -> Found:
        """Say that the root itself cannot be listed: that is all there is to say of it."""
        return Found(unreachable=f"{found.ailments[-1].health}: {self.root}")

    def _single(self, found: Found) -> None:
        """A root that is one event file."""
        if not self.directories:
            path, name = os.path.split(self.root)
            only = Directory(path, ".", os.path.realpath(path), files=(name,))
            self.directories[path] = only
            found.files.append((only, name))

    def _lost_mount(self, info: os.stat_result) -> str:
        """Say if the root is now the empty directory that a filesystem was mounted on.

        It is on another device then, or, of a bind mount, another directory.
        """
        other = self._inode not in (-1, info.st_ino) or self.device not in (-1, info.st_dev)
        moved = self.directories and other
        if (moved or (self.expected and not self.directories)) and not os.listdir(self.root):
            where = "another directory than it was" if moved else "there were runs in it"
            return f"{self.root} is empty, and {where}: is the filesystem mounted?"
        self.device, self._inode, self.expected = info.st_dev, info.st_ino, False
        return ""

    def _next_looks(self, now: WallTime) -> list[str]:
        """Choose what to look at again: nine parts of active directories, one of quiet ones."""
        if not self.complete:
            return []
        looks = max(_LEAST_LOOKS, len(self.directories) // _SHARE)
        active = [self._active.popleft() for _ in range(min(len(self._active), looks * 9 // 10))]
        rest = min(len(self._turn), max(looks - len(active), looks // 10))
        quiet = [self._turn.popleft() for _ in range(rest)]
        known = self.directories
        self._turn.extend(path for path in quiet if path in known)
        chosen = dict.fromkeys(path for path in (*active, *quiet) if path in known)
        self._active.extend(
            path
            for path in dict.fromkeys(active)
            if path in known and known[path].active_until > now
        )
        return list(chosen)

    def _look_again(self, path: str, found: Found, now: WallTime) -> None:
        directory = self.directories.get(path)
        if directory is None:
            return
        if self._unlisted and self._unlisted.get(path, (now, 0.0))[0] > now:
            return
        directory.looks += 1
        try:
            same = os.stat(path).st_mtime_ns == directory.mtime_ns
        except OSError as error:
            self._lost(directory, error, found, now)
            return
        if not same or directory.racy or directory.looks % _LIST_EVERY == 0:
            self._take(directory, listed(path, self.look, self._real), found, now)

    def _take(
        self, directory: Directory, listing: Listing | OSError, found: Found, now: WallTime
    ) -> None:
        """Compare what is in a directory with what was in it before."""
        if isinstance(listing, OSError):
            self._lost(directory, listing, found, now)
            return
        mtime_ns, files = listing.mtime_ns, listing.files
        subdirs, links = listing.subdirs, listing.links
        if self._unlisted.pop(directory.path, None):
            found.ailments.append(Ailment(directory.path, Health.OK, "listed again"))
        known = directory.mtime_ns >= 0
        if directory.mtime_ns != mtime_ns and (known or now - mtime_ns / 1e9 < _ACTIVE_FOR):
            self.stir(directory.path, now)
        directory.mtime_ns = mtime_ns
        directory.racy = now * 1e9 - mtime_ns < _RACY_NS
        new = set(files).difference(directory.files) if directory.files else files
        found.files += [(directory, name) for name in sorted(new)]
        if (listing.marker, listing.marked_ns) != (directory.marker, directory.marked_ns):
            directory.marker, directory.marked_ns = listing.marker, listing.marked_ns
            found.marked.append(directory)
        if directory.subdirs or subdirs or links:
            before = set(directory.subdirs)
            for name in before - subdirs.keys() - links.keys():
                gone = self.directories.get(os.path.join(directory.path, name))
                if gone is not None:
                    self._forget(gone, found)
            for name in sorted(subdirs.keys() - before):
                self._enter(subdirs[name], _below(directory.run, name), f"{directory.real}/{name}")
            for name in sorted(links.keys() - before):
                self._links.append((links[name], _below(directory.run, name)))
        directory.files, directory.subdirs = tuple(files), (*subdirs, *links)

    def _enter(self, path: str, run: str, real: str) -> None:
        """Put a directory in line, once, unless it is pruned."""
        name = os.path.basename(path)
        if run != "." and (name.startswith(".") or name in _PRUNED):
            return
        patterns = self.look.prune
        if patterns and any(
            fnmatch.fnmatchcase(run, p) or fnmatch.fnmatchcase(name, p) for p in patterns
        ):
            return
        if real not in self._seen:
            real = path if real == path else real
            self._seen.add(real)
            self._new.append(Directory(path, run, real))

    def _enter_link(self, path: str, run: str) -> None:
        """Follow a link to a directory: last, so that directories go by their own paths."""
        self._enter(path, run, os.path.realpath(path))

    def _lost(self, directory: Directory, error: OSError, found: Found, now: WallTime) -> None:
        if health(error) is Health.MISSING:
            self._forget(directory, found)
        else:
            self._cannot_list(directory, error, found, now)

    def _cannot_list(
        self, directory: Directory, error: OSError, found: Found, now: WallTime
    ) -> None:
        """Note why, and leave it alone for a while; the root is asked each time."""
        path = directory.path
        pause = min(2 * self._unlisted.get(path, (0.0, PAUSE / 2))[1], LONGEST_PAUSE)
        self._unlisted[path] = (now if path == self.root else now + pause, pause)
        directory.racy = True
        detail = f"cannot list this directory: {error.strerror}"
        found.ailments.append(Ailment(path, health(error), detail))

    def _forget(self, directory: Directory, found: Found) -> None:
        """Drop a directory that was removed, and all below it."""
        above = self.directories.get(os.path.dirname(directory.path))
        if above is not None:  # so that it is entered again should it come back
            name = os.path.basename(directory.path)
            above.subdirs = tuple(known for known in above.subdirs if known != name)
        prefix = directory.path + "/"
        for path in [p for p in self.directories if p == directory.path or p.startswith(prefix)]:
            gone = self.directories.pop(path)
            self._unlisted.pop(path, None)
            self._seen.discard(gone.real)
            found.gone.append(gone)


def _below(run: str, name: str) -> str:
    """Name a directory in a run; bytes that are not UTF-8 are shown with escapes."""
    shown = os.fsencode(name).decode("utf-8", "backslashreplace")
    return shown if run == "." else f"{run}/{shown}"

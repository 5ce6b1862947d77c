"""What is in this directory, of what discovery looks for? Links are followed as far as allowed.

Over a network a directory keeps its reader waiting for answers, so many are listed at once.
"""

# ruff: noqa: PTH116
# Paths are plain strings here: making a Path costs more than the system call it is for.

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal

DONE_MARKERS = ("DONE", "_SUCCESS", ".done", "COMPLETED")
_IGNORED = (".tmp", ".partial", "~", ".gz")


@dataclass(frozen=True, slots=True)
class Look:
    """Where discovery goes. ``prune``: globs over names or paths relative to the root."""

    symlinks: Literal["never", "within-root", "always"] = "never"
    prune: tuple[str, ...] = ()
    done_markers: tuple[str, ...] = DONE_MARKERS
    budget: int = 20_000  # directories listed for the first time in one sweep


@dataclass(frozen=True, slots=True)
class Listing:
    """What one directory holds: event files by name, directories below it as paths by name.

    ``mtime_ns`` is the directory's own, asked before it was listed.
    """

    mtime_ns: int
    files: list[str]
    subdirs: dict[str, str]
    links: dict[str, str]  # to directories, as far as they may be followed
    marker: str
    marked_ns: int  # when the marker was last written; 0 without one


def is_event_file(name: str) -> bool:
    """Whether a file of this name is meant to be read."""
    return "tfevents" in name and not name.startswith(".") and not name.endswith(_IGNORED)


def listed(path: str, look: Look, root: str) -> Listing | OSError:
    """List one directory; ``root`` is where links may lead into, without links on its way."""
    files: list[str] = []
    subdirs: dict[str, str] = {}
    links: dict[str, str] = {}
    marker, marked_ns = "", 0
    try:
        mtime_ns = os.stat(path).st_mtime_ns
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if is_event_file(name) and _readable(entry, look, root):
                    files.append(name)
                elif entry.is_dir(follow_symlinks=False):  # whatever its name: "DONE", too
                    subdirs[name] = entry.path
                elif name in look.done_markers:
                    with suppress(OSError):  # it may be gone since, which says nothing of the rest
                        marked_ns = entry.stat(follow_symlinks=False).st_mtime_ns
                        marker = name
                elif entry.is_symlink() and _followed(entry, look, root):
                    links[name] = entry.path
    except OSError as error:
        return error
    return Listing(mtime_ns, files, subdirs, links, marker, marked_ns)


def all_listed(
    paths: Sequence[str], look: Look, root: str, threads: int
) -> Iterator[Listing | OSError]:
    """List several directories, ``threads`` at a time; yield the listings in order.

    Where no thread is to be had, one after the other.
    """
    each = partial(listed, look=look, root=root)
    if threads > 1 and len(paths) > 1:
        with ThreadPoolExecutor(min(threads, len(paths)), "lister") as pool:
            try:
                found = pool.map(each, paths)
            except RuntimeError:  # can't start new thread
                pool.shutdown(cancel_futures=True)
            else:
                yield from found
                return
    yield from map(each, paths)


def _readable(entry: os.DirEntry[str], look: Look, root: str) -> bool:
    """Whether this is a regular file, or a link to one that may be followed."""
    try:
        if entry.is_file(follow_symlinks=False):
            return True
        if not entry.is_symlink() or not entry.is_file():
            return False
        return look.symlinks == "always" or _inside(entry.path, root)
    except OSError:
        return False


def _followed(entry: os.DirEntry[str], look: Look, root: str) -> bool:
    try:
        if look.symlinks == "never" or not entry.is_dir():
            return False
        return look.symlinks == "always" or _inside(entry.path, root)
    except OSError:  # a loop of links
        return False


def _inside(path: str, root: str) -> bool:
    return os.path.realpath(path).startswith(root.rstrip("/") + "/")

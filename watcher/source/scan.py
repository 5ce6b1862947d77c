"""Which scalar points do these bytes hold, and where does the last whole record end?

There are two scanners with the same results: ``_scan.c``, built where there is a compiler, and
``_scan_py.py``, thirty times slower. Here is decided which one serves; nothing else knows.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from watcher.model import Columns, Floats, Ints, no_points
from watcher.source import _scan_py
from watcher.source.framing import Scan, Stop

try:
    from watcher.source import _scan
except ImportError:  # it was not built
    BUILT = False
else:
    BUILT = True

_STOPS = tuple(Stop)


def native_scan(fd: int, offset: int, size: int, plugins: dict[str, str]) -> Scan:
    """Scan by the compiled twin, if it is ``BUILT``."""
    return _scan_of(_scan.scan(fd, offset, size, plugins))


def _scan_of(found: tuple[Any, ...]) -> Scan:
    tags, tag, step, wall, value, end, stop, unchecked, odd, sessions, ends, ignored = found
    points = no_points()
    if tags:
        points = Columns(
            tags,
            np.frombuffer(tag, np.int32),
            np.frombuffer(step, np.int64),
            np.frombuffer(wall, np.float64),
            np.frombuffer(value, np.float64),
        )
    return Scan(points, end, _STOPS[stop], unchecked, odd, sessions, ends, ignored)


def scan(fd: int, offset: int, size: int, plugins: dict[str, str]) -> Scan:
    """Read the records of ``fd`` from ``offset`` up to ``size``; never move the file's position.

    ``plugins`` is what the metadata said of each tag of the run directory; it is added to. Stops
    before the first record that is incomplete or unsound, and says why. Raises OSError.
    """
    serves = native_scan if SCANNER == "native" else _scan_py.scan
    return serves(fd, offset, size, plugins)


@dataclass(frozen=True, slots=True)
class Glimpse:
    """One file as it stood: what fstat said of it, and what follows the record read last.

    ``crc`` is the checksum stored before ``found.offset``.
    """

    size: int
    mtime_ns: int
    inode: int
    device: int
    crc: int
    found: Scan


def glimpses(files: Sequence[tuple[str, int, int, dict[str, str]]]) -> list[Glimpse | None]:
    """Read what is new in several files at once, as far as nothing about them is unusual.

    A file is a path, how far it was read, the checksum stored before that, and what is known of
    its tags' plugins: a dict of its own, added to. None stands for a file to look into with care:
    one that cannot be read, is not the one it was, is damaged, or has much to tell; or for any
    file if the native scanner does not serve.
    """
    if SCANNER != "native":
        return [None] * len(files)
    seen = _scan.glimpses([(os.fsencode(path), at, crc, its) for path, at, crc, its in files])
    return [Glimpse(*one[:5], _scan_of(one[5])) if one is not None else None for one in seen]


def grouped(
    points: Columns, rank: npt.NDArray[np.int32]
) -> tuple[list[int], Ints, Floats, Floats]:
    """Group points by ``rank[tag]``, in the order of recording within each.

    Returns where the points of each rank end, and step, wall time and value.
    """
    if SCANNER == "native":
        columns = (points.tag, points.step, points.wall_time, points.value, rank)
        ends, step, wall, value = _scan.grouped(*map(np.ascontiguousarray, columns))
        return (
            ends,
            np.frombuffer(step, np.int64),
            np.frombuffer(wall, np.float64),
            np.frombuffer(value, np.float64),
        )
    key = rank[points.tag]
    order = np.argsort(key.astype(np.int16) if len(rank) < 1 << 15 else key, kind="stable")
    at_ends: list[int] = np.cumsum(np.bincount(key, minlength=len(rank))).tolist()
    return at_ends, points.step[order], points.wall_time[order], points.value[order]


def described() -> str:
    """Say which scanner serves, and what to do about the slower one."""
    if SCANNER == "native":
        return f"native, checksums by {_scan.CHECKSUM}"
    if BUILT:
        return "python (slower), as WATCHER_SCANNER asks"
    return "python (slower); install a C compiler and the watcher again for the native one"


def _choice() -> Literal["native", "python"]:
    forced = os.environ.get("WATCHER_SCANNER") == "python"
    return "python" if forced or not BUILT else "native"


SCANNER: Final = _choice()

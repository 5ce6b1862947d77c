"""Which scalar points do these bytes hold, and where does the last whole record end?

There are two scanners with the same results: ``_scan.c``, built where there is a compiler, and
``_scan_py.py``, thirty times slower. Here is decided which one serves; nothing else knows.
"""

from __future__ import annotations

import os
from typing import Final, Literal

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
    tags, tag, step, wall, value, end, stop, unchecked, odd, sessions, ends, ignored = _scan.scan(
        fd, offset, size, plugins
    )
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

"""What does the whole curve look like, in bounded space?

One window holds one series of one attempt: exact aggregates of the whole attempt, the whole
curve in at most ``BUCKETS`` buckets of equal point count (neighbours merge pairwise as it grows),
and the last ``TAIL`` raw points. It depends only on the points, never on how they were split over
polls: sums are taken point after point, and a bucket closes at a fixed count.

Of several values of one step in a row the last is kept. So the newest point is provisional until
another step follows it: it counts in everything shown, and is settled into the buckets after.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from watcher.model import Floats, Ints

BUCKETS = 512  # the whole curve; even, so that merging pairs leaves none over
TAIL = 512  # raw points: enough for any detector's local noise
_CAPACITY = 768  # of the tail's buffer: it is moved down once in 256 points
_FIRST_CAPACITY = 32  # most series are short

_SINGLY = 12  # points: so few are taken one by one, which costs less than numpy's set-up

_EVERY = 48  # a series is judged each time it grew by 1/48 ...
_AT_MOST = 250  # ... and at least every 250 points
_judged_at: list[int] = [0]


def judged_at(after: int, until: int) -> list[int]:
    """Return the point counts at which conditions are judged, from ``after`` (left out) on.

    Every point up to 96, then every 1/48 of the count, never more than 250 points apart. A fixed
    sequence, so that verdicts do not depend on the poll.
    """
    while _judged_at[-1] <= until:
        n = _judged_at[-1]
        _judged_at.append(n + min(_AT_MOST, max(1, n // _EVERY)))
    start, stop = (bisect.bisect_right(_judged_at, n) for n in (after, until))
    return _judged_at[start:stop]


@dataclass(frozen=True, slots=True)
class Curve:
    """The whole curve in time order, one entry a bucket: at most ``BUCKETS`` + 1 entries.

    ``step`` int64, the first step of each bucket; ``mean``, ``low``, ``high`` float64 over the
    bucket's finite values, NaN where it has none. ``size``: points in a full bucket; with 1 this
    is the raw curve. The last entry may stand for fewer points.
    """

    step: Ints
    mean: Floats
    low: Floats
    high: Floats
    size: int


@dataclass(frozen=True, slots=True)
class Extremes:
    """Exact over the whole attempt: lowest and highest finite value with the first step of each.

    Without a finite value both are NaN at step 0. ``nonfinite`` counts NaN and ±Inf.
    """

    low: float
    low_step: int
    high: float
    high_step: int
    nonfinite: int


class _Buckets:
    """Settled points in buckets of ``size``; the last one may be open."""

    __slots__ = ("n", "open", "size", "stats", "step")

    def __init__(self) -> None:
        self.size = 1
        self.n = 0  # full buckets
        self.open = 0  # points in the open bucket, which is column n
        self.step = np.empty(_FIRST_CAPACITY, np.int64)
        self.stats = np.empty((4, _FIRST_CAPACITY))  # rows: sum, min, max, count of finite values

    def add(self, step: Ints, value: Floats) -> None:
        """Fill buckets with the next settled points."""
        at, n = 0, len(step)
        while at < n:
            if self.n == BUCKETS:
                self._merge_pairs()
            if self.size == 1:
                taken = min(n - at, BUCKETS - self.n)
                self._reserve(self.n + taken)
                here = slice(self.n, self.n + taken)
                self.step[here] = step[at : at + taken]
                fresh = value[at : at + taken]
                if np.isfinite(fresh).all():  # one point a bucket: it is all four
                    self.stats[:3, here], self.stats[3, here] = fresh, 1.0
                else:
                    self.stats[:, here] = _single(fresh)
                self.n += taken
            else:
                taken = min(n - at, self.size - self.open)
                self._fill_open(step[at : at + taken], value[at : at + taken])
            at += taken

    def add_one(self, step: int, value: float) -> None:
        """Fill buckets with the next settled point; the same as ``add``, at less cost."""
        if self.n == BUCKETS:
            self._merge_pairs()
        k = self.n
        if self.open == 0:
            if self.size == 1:
                self._reserve(k + 1)
            self.step[k] = step
            self.stats[:, k] = _one(value)
        else:
            self.stats[:, k] = _joined_one(self.stats[:, k], value)
        self.open += 1
        if self.open == self.size:
            self.n, self.open = k + 1, 0

    def _fill_open(self, step: Ints, value: Floats) -> None:
        k = self.n
        if self.open == 0:
            self.step[k] = step[0]
            self.stats[:, k] = (0.0, math.nan, math.nan, 0.0)
        self.stats[:, k] = _joined(self.stats[:, k], value)
        self.open += len(step)
        if self.open == self.size:
            self.n, self.open = k + 1, 0

    def _merge_pairs(self) -> None:
        even, odd = self.stats[:, 0:BUCKETS:2], self.stats[:, 1:BUCKETS:2]
        half = BUCKETS // 2
        self.stats[:, :half] = (
            even[0] + odd[0],
            np.fmin(even[1], odd[1]),
            np.fmax(even[2], odd[2]),
            even[3] + odd[3],
        )
        self.step[:half] = self.step[0:BUCKETS:2].copy()
        self.n, self.size = half, self.size * 2

    def _reserve(self, n: int) -> None:
        have = len(self.step)
        if n <= have:
            return
        while have < n:
            have *= 2
        have = min(have, BUCKETS)
        step, stats = np.empty(have, np.int64), np.empty((4, have))
        step[: self.n], stats[:, : self.n] = self.step[: self.n], self.stats[:, : self.n]
        self.step, self.stats = step, stats


def _single(value: Floats) -> npt.NDArray[np.float64]:
    """Return the four rows of buckets that hold one value each."""
    finite = np.isfinite(value)
    shown = value if finite.all() else np.where(finite, value, np.nan)
    return np.stack((np.where(finite, value, 0.0), shown, shown, finite))


def _joined(stats: Floats, value: Floats) -> tuple[float, float, float, float]:
    """Add ``value`` to one bucket's sum, min, max, count; sums run point after point."""
    good = value[np.isfinite(value)]
    if len(good) == 0:
        return tuple(stats)
    total = float(np.cumsum(np.concatenate((stats[:1], good)))[-1])
    low, high = np.fmin(stats[1], good.min()), np.fmax(stats[2], good.max())
    return total, float(low), float(high), float(stats[3]) + len(good)


def _one(value: float) -> tuple[float, float, float, float]:
    """Return sum, min, max and count of a bucket that holds one value."""
    if math.isfinite(value):
        return value, value, value, 1.0
    return 0.0, math.nan, math.nan, 0.0


def _joined_one(stats: Floats, value: float) -> tuple[float, float, float, float]:
    """Add one value to one bucket's sum, min, max, count."""
    total, low, high, count = stats.tolist()
    if not math.isfinite(value):
        return total, low, high, count
    if count == 0:
        return total + value, value, value, 1.0
    return total + value, min(low, value), max(high, value), count + 1.0


_CACHES = ("_curve", "_extremes", "_finite_curve", "_finite_tail")


class Window:
    """One series of one attempt, bounded at about 40 kB.

    Detectors read it through its properties; only ``extend`` changes it. The arrays it hands out
    are views or caches and must not be written to.
    """

    __slots__ = (
        "_buckets",
        "_curve",
        "_extremes",
        "_finite_curve",
        "_finite_tail",
        "_high",
        "_low",
        "_nonfinite",
        "_settled",
        "_start",
        "_step",
        "_stop",
        "_value",
        "_wall",
        "count",
        "first_nonfinite_settled",
        "first_step",
        "first_value",
        "first_wall",
    )

    def __init__(self) -> None:
        self.count = 0  # points that arrived, repeats of a step included
        self.first_step = 0
        self.first_value = math.nan
        self.first_wall = math.nan
        self.first_nonfinite_settled: int | None = None
        self._settled = 0  # points kept and followed by another step
        self._step = np.empty(_FIRST_CAPACITY, np.int64)
        self._wall = np.empty(_FIRST_CAPACITY)
        self._value = np.empty(_FIRST_CAPACITY)
        self._start = self._stop = 0  # the tail within its buffers
        self._low = (math.inf, 0)  # over settled points: value, first step
        self._high = (-math.inf, 0)
        self._nonfinite = 0
        self._buckets = _Buckets()
        self._curve: Curve | None = None
        self._extremes: Extremes | None = None
        self._finite_curve: tuple[Ints, Floats] | None = None
        self._finite_tail: tuple[Ints, Floats] | None = None

    def __getstate__(self) -> dict[str, object]:
        """Leave out what is computed anew when it is asked for."""
        return {name: None if name in _CACHES else getattr(self, name) for name in self.__slots__}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Take what ``__getstate__`` kept."""
        for name, value in state.items():
            setattr(self, name, value)

    # ---------------------------------------------------------------- growing

    def extend(self, step: Ints, wall_time: Floats, value: Floats) -> None:
        """Take the next points, in order of recording: int64[n], float64[n], float64[n].

        1. Of a row of equal steps keep the last; it may replace the newest point held.
        2. Settle what is now followed by another step into aggregates and buckets.
        3. Append to the tail.
        """
        n = len(step)
        if n == 0:
            return
        self.count += n
        self._curve = self._extremes = self._finite_curve = self._finite_tail = None
        if n <= _SINGLY:
            for one in zip(step.tolist(), wall_time.tolist(), value.tolist(), strict=True):
                self._take(*one)
            return
        if n > 1:
            kept = np.append(step[1:] != step[:-1], True)
            if not kept.all():
                step, wall_time, value = step[kept], wall_time[kept], value[kept]
        if self._stop > self._start:
            newest = self._stop - 1
            if self._step[newest] == step[0]:
                self._stop = newest
            else:
                self._settle_one(int(self._step[newest]), float(self._value[newest]))
        if self._settled == 0:
            self.first_step = int(step[0])
            self.first_wall = float(wall_time[0])
            self.first_value = float(value[0])
        self._settle(step[:-1], value[:-1])
        self._append(step[-TAIL:], wall_time[-TAIL:], value[-TAIL:])

    def _take(self, step: int, wall: float, value: float) -> None:
        """Take one point: the same as ``extend``, at less cost."""
        at = self._stop
        if at > self._start:
            newest = int(self._step[at - 1])
            if newest == step:
                at -= 1
            else:
                self._settle_one(newest, float(self._value[at - 1]))
        if self._settled == 0:
            self.first_step, self.first_wall, self.first_value = step, wall, value
        self._stop = at
        if at == len(self._step):
            self._make_room(1)
            at = self._stop
        self._step[at], self._wall[at], self._value[at] = step, wall, value
        self._stop = at + 1
        if self._stop - self._start > TAIL:
            self._start = self._stop - TAIL

    def _settle_one(self, step: int, value: float) -> None:
        self._settled += 1
        if not math.isfinite(value):
            if self._nonfinite == 0:
                self.first_nonfinite_settled = step
            self._nonfinite += 1
        else:
            if value < self._low[0]:
                self._low = (value, step)
            if value > self._high[0]:
                self._high = (value, step)
        self._buckets.add_one(step, value)

    def _settle(self, step: Ints, value: Floats) -> None:
        if len(step) == 0:
            return
        self._settled += len(step)
        finite = np.isfinite(value)
        good, good_step = value, step
        if not finite.all():
            good, good_step = value[finite], step[finite]
            if self._nonfinite == 0:
                self.first_nonfinite_settled = int(step[int(np.argmin(finite))])
            self._nonfinite += len(value) - len(good)
        if len(good):
            low, high = int(good.argmin()), int(good.argmax())
            if good[low] < self._low[0]:
                self._low = (float(good[low]), int(good_step[low]))
            if good[high] > self._high[0]:
                self._high = (float(good[high]), int(good_step[high]))
        self._buckets.add(step, value)

    def _append(self, step: Ints, wall: Floats, value: Floats) -> None:
        n = len(step)
        if self._stop + n > len(self._step):
            self._make_room(n)
        here = slice(self._stop, self._stop + n)
        self._step[here], self._wall[here], self._value[here] = step, wall, value
        self._stop += n
        self._start = max(self._start, self._stop - TAIL)

    def _make_room(self, n: int) -> None:
        """Move the tail to the front of buffers that have room for ``n`` more points."""
        keep = min(self._stop - self._start, TAIL, _CAPACITY - n)
        size = len(self._step)
        while size < keep + n:
            size = min(size * 2, _CAPACITY)
        held = slice(self._stop - keep, self._stop)
        for name in ("_step", "_wall", "_value"):
            old = getattr(self, name)
            new = np.empty(size, old.dtype)
            new[:keep] = old[held]
            setattr(self, name, new)
        self._start, self._stop = 0, keep

    # ---------------------------------------------------------------- reading

    def __len__(self) -> int:
        """Count the points kept, the newest included."""
        return self._settled + (self._stop > self._start)

    @property
    def step(self) -> Ints:
        """Steps of the last ``TAIL`` points, int64."""
        return self._step[self._start : self._stop]

    @property
    def wall_time(self) -> Floats:
        """Wall times of the last ``TAIL`` points, float64, as recorded."""
        return self._wall[self._start : self._stop]

    @property
    def value(self) -> Floats:
        """Values of the last ``TAIL`` points, float64, NaN and ±Inf as recorded."""
        return self._value[self._start : self._stop]

    @property
    def whole(self) -> bool:
        """Whether the tail is the whole series."""
        return len(self) == self._stop - self._start

    @property
    def last_step(self) -> int:
        """Step of the newest point; 0 if there is none."""
        return int(self._step[self._stop - 1]) if self._stop > self._start else 0

    @property
    def last_value(self) -> float:
        """Value of the newest point; NaN if there is none."""
        return float(self._value[self._stop - 1]) if self._stop > self._start else math.nan

    @property
    def last_wall(self) -> float:
        """Wall time of the newest point; NaN if there is none."""
        return float(self._wall[self._stop - 1]) if self._stop > self._start else math.nan

    def wall_at(self, step: int) -> float:
        """Return when ``step`` was reached: exact within the tail, before it in proportion.

        NaN if there is no point.
        """
        steps, walls = self.step, self.wall_time
        if not len(steps):
            return math.nan
        if step >= steps[0] or self.whole:
            return float(walls[min(int(np.searchsorted(steps, step)), len(steps) - 1)])
        ends = (float(self.curve.step[0]), float(steps[0]))
        return float(np.interp(step, ends, (self.first_wall, float(walls[0]))))

    @property
    def extremes(self) -> Extremes:
        """Lowest, highest and non-finite count over the whole attempt, exact."""
        if self._extremes is None:
            (low, low_step), (high, high_step), bad = self._low, self._high, self._nonfinite
            if self._stop > self._start:
                value, step = self.last_value, self.last_step
                if not math.isfinite(value):
                    bad += 1
                else:
                    low, low_step = (value, step) if value < low else (low, low_step)
                    high, high_step = (value, step) if value > high else (high, high_step)
            if low > high:
                low, low_step, high, high_step = math.nan, 0, math.nan, 0
            self._extremes = Extremes(low, low_step, high, high_step, bad)
        return self._extremes

    @property
    def first_nonfinite_step(self) -> int | None:
        """Step of the first NaN or ±Inf of the attempt, None if every value is finite."""
        if self._nonfinite:
            return self.first_nonfinite_settled
        return None if math.isfinite(self.last_value) or not len(self) else self.last_step

    @property
    def curve(self) -> Curve:
        """The whole curve in at most ``BUCKETS`` + 1 entries; the raw one while that suffices."""
        if self._curve is None:
            self._curve = self._build_curve()
        return self._curve

    def _build_curve(self) -> Curve:
        b = self._buckets
        bad = self._nonfinite or not math.isfinite(self.last_value)
        if b.size == 1 and self.whole:
            value = self.value.copy()
            if bad:
                value[~np.isfinite(value)] = np.nan
            return Curve(self.step, value, value, value, 1)
        n = b.n + (b.open > 0)
        if b.open:  # the provisional point belongs into the open bucket
            step, stats = b.step[:n], b.stats[:, :n].copy()
            stats[:, -1] = _joined_one(stats[:, -1], self.last_value)
        else:
            step, stats = np.empty(n + 1, np.int64), np.empty((4, n + 1))
            step[:n], stats[:, :n] = b.step[:n], b.stats[:, :n]
            step[n], stats[:, n] = self.last_step, _one(self.last_value)
        total, low, high, count = stats
        if bad:
            mean = np.divide(total, count, out=np.full(len(step), np.nan), where=count > 0)
        else:
            mean = total if b.size == 1 else total / count
        return Curve(step, mean, low, high, b.size)

    @property
    def finite_curve(self) -> tuple[Ints, Floats]:
        """Steps and means of the whole curve, without what is not finite."""
        if self._finite_curve is None:
            self._finite_curve = _finite(self.curve.step, self.curve.mean)
        return self._finite_curve

    @property
    def finite_tail(self) -> tuple[Ints, Floats]:
        """Steps and values of the last ``TAIL`` points, without what is not finite."""
        if self._finite_tail is None:
            self._finite_tail = _finite(self.step, self.value)
        return self._finite_tail


def _finite(step: Ints, value: Floats) -> tuple[Ints, Floats]:
    good = np.isfinite(value)
    return (step, value) if good.all() else (step[good], value[good])

"""What is new in this file since this cursor? Tails, damage, replacement.

A file is opened for each look and closed after it: over NFS that is what makes the client ask the
server again. Nothing here assumes that a file only grows; it may be cut, replaced or broken.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from watcher.attempts import joined
from watcher.model import Ailment, Columns, Health, WallTime, no_points
from watcher.source import events
from watcher.source.framing import FRAME, HEADER, START, STOP, Scan, Stop, header_length
from watcher.source.resync import fetch, goes_on, resync, sound, u32
from watcher.source.scan import Glimpse, glimpses, scan

_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_HEALTH = {
    errno.ENOENT: Health.MISSING,
    errno.ENOTDIR: Health.MISSING,
    errno.EACCES: Health.DENIED,
    errno.EPERM: Health.DENIED,
    errno.ESTALE: Health.STALE,
    errno.ETIMEDOUT: Health.TIMED_OUT,
    errno.ENOTCONN: Health.NOT_CONNECTED,
    errno.EHOSTDOWN: Health.NOT_CONNECTED,
    errno.ELOOP: Health.LOOP,
    errno.ENAMETOOLONG: Health.NAME_TOO_LONG,
}


def health(error: OSError) -> Health:
    """Name what stands between us and a path."""
    return _HEALTH.get(error.errno or 0, Health.IO_ERROR)


@dataclass(slots=True)
class Cursor:
    """How far one file has been read. Identity is path and content; the inode is only a hint."""

    path: str
    offset: int = 0
    crc: int = 0  # as stored with the last record before ``offset``
    size: int = -1  # as last seen, and so on
    mtime_ns: int = 0
    inode: int = 0
    device: int = 0
    unchecked: int = -1  # start of the last record if its body was stepped over
    points: int = 0  # given out so far
    ignored: int = 0  # values and records that gave no point, though they look as if
    skipped: int = 0  # bytes
    stuck_since: WallTime | None = None  # since when nothing after ``offset`` can be read
    changed_at: WallTime = 0.0  # when it was last seen to have changed
    aged_since: WallTime = 0.0  # the bytes before ``aged_size`` are at least as old as that
    aged_size: int = 0
    searched: int = 0  # size up to which no sound record was found after ``offset``
    reported: bool = False  # what is wrong at ``offset`` was told
    first_look: bool = True  # what there is was written before we looked


@dataclass(slots=True)
class News:
    """What a look brought. ``anew``: the file is another one now; all its points are here.

    ``starts`` are SessionLog.START: the index of the first point after it (among the file's
    points of this look) and its step. ``finished`` is a sign of the end, "" one that takes it
    back, None if nothing was said; ``written_on`` the seconds, by the points' own times, for
    which the file went on after it, 0 if it did not.
    """

    points: Columns = field(default_factory=no_points)
    starts: list[tuple[int, int]] = field(default_factory=list)
    finished: str | None = None
    written_on: float = 0.0
    anew: bool = False
    grown: bool = False
    seen_at: WallTime = 0.0
    ailments: list[Ailment] = field(default_factory=list)


_SESSIONS = {START: "", STOP: "SessionLog.STOP"}
_NOTHING = News()  # nothing is new; shared, so whoever gets it must not change it
_Stat = tuple[int, int, int, int]  # size, mtime_ns, inode, device


def look(
    cursor: Cursor,
    plugins: dict[str, str],
    now: WallTime,
    grace: float,
    glimpse: Glimpse | None = None,
) -> News | None:
    """Read what is new; None if the path is not a regular file. Raises OSError.

    A ``glimpse`` of it is taken as it is. Else:

    1. Open, fstat; a handle that went stale is opened once more.
    2. If the file shrank or its last record changed, begin anew.
    3. Scan; past damage that outlived ``grace``, go on with the next sound record.
    """
    if glimpse is not None:
        return _taken(cursor, glimpse, now)
    try:
        return _look(cursor, plugins, now, grace)
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        return _look(cursor, plugins, now, grace)


def glimpsed(files: Sequence[tuple[Cursor, dict[str, str]]]) -> list[Glimpse | None]:
    """Read several files at once, each with plugins of its own; None where care is called for."""
    plain = [(c, plugins) for c, plugins in files if c.stuck_since is None]
    seen = iter(glimpses([(c.path, c.offset, c.crc, plugins) for c, plugins in plain]))
    return [next(seen) if cursor.stuck_since is None else None for cursor, _ in files]


def due(cursor: Cursor, now: WallTime, grace: float) -> bool:
    """Whether damage that was left alone has to be settled without any growth."""
    since = cursor.stuck_since
    return since is not None and unsettled(cursor) and now - since >= grace


def unsettled(cursor: Cursor) -> bool:
    """Whether what stands at the cursor may yet read otherwise: a page that was late, a fault."""
    return cursor.stuck_since is not None and cursor.searched != cursor.size


def _look(cursor: Cursor, plugins: dict[str, str], now: WallTime, grace: float) -> News | None:
    fd = os.open(cursor.path, _OPEN)
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            return None
        seen = (info.st_size, info.st_mtime_ns, info.st_ino, info.st_dev)
        if not cursor.first_look and _unchanged(cursor, seen) and not unsettled(cursor):
            return _NOTHING
        anew = cursor.size >= 0 and not _same(fd, cursor, info.st_size)
        if anew:
            _restart(cursor)
        news = _seen(cursor, seen, now)
        news.anew = anew
        if info.st_size > cursor.offset:
            _Reading(fd, info.st_size, cursor, plugins, news, now, grace).to_the_end()
        _note(cursor, seen)
        return news
    finally:
        os.close(fd)


def _taken(cursor: Cursor, glimpse: Glimpse, now: WallTime) -> News:
    """Take what a glimpse brought: it ends with a whole record, or before zeros."""
    seen = (glimpse.size, glimpse.mtime_ns, glimpse.inode, glimpse.device)
    if not cursor.first_look and _unchanged(cursor, seen):
        return _NOTHING
    news, found = _seen(cursor, seen, now), glimpse.found
    if glimpse.size > cursor.offset:
        news.points = joined((_signs(found, news, 0),))
        cursor.ignored += found.ignored + len(found.points) - len(news.points)
        cursor.points += len(news.points)
        if found.offset != cursor.offset:
            _advance(cursor, found.offset, glimpse.crc)
            cursor.unchecked = found.unchecked
    _note(cursor, seen)
    return news


def _seen(cursor: Cursor, seen: _Stat, now: WallTime) -> News:
    """Begin the news with what fstat said."""
    size, mtime_ns, _, _ = seen
    news = News(seen_at=min(now, mtime_ns / 1e9) if cursor.first_look else now)
    news.grown = size != cursor.size
    if cursor.first_look or not _unchanged(cursor, seen):
        cursor.changed_at = news.seen_at
    return news


def _note(cursor: Cursor, seen: _Stat) -> None:
    """Remember what fstat said, once everything up to there was read."""
    cursor.size, cursor.mtime_ns, cursor.inode, cursor.device = seen
    cursor.first_look = False


def _unchanged(cursor: Cursor, seen: _Stat) -> bool:
    return seen == (cursor.size, cursor.mtime_ns, cursor.inode, cursor.device)


def whole(path: str, offset: int, plugins: dict[str, str]) -> Columns:
    """Read the points before ``offset`` again, damage left out; none if the file is gone."""
    cursor = Cursor(path)
    try:
        fd = os.open(path, _OPEN)
    except OSError:
        return no_points()
    try:
        news = News()
        size = min(offset, os.fstat(fd).st_size)
        _Reading(fd, size, cursor, plugins, news, 0.0, 0.0).to_the_end()
        return news.points
    finally:
        os.close(fd)


def _restart(cursor: Cursor) -> None:
    for name, value in (("offset", 0), ("crc", 0), ("unchecked", -1), ("points", 0)):
        setattr(cursor, name, value)
    cursor.skipped = cursor.searched = cursor.aged_size = cursor.ignored = 0
    cursor.stuck_since, cursor.reported, cursor.first_look = None, False, True


def _same(fd: int, cursor: Cursor, size: int) -> bool:
    """Whether the file still ends, at the cursor, with the record we read last."""
    if size < cursor.offset:
        return False
    return cursor.offset == 0 or _stored(fd, cursor.offset) == cursor.crc


def _stored(fd: int, offset: int) -> int:
    """Return the checksum that stands before ``offset``."""
    return u32(fd, max(0, offset - 4))


def _advance(cursor: Cursor, offset: int, crc: int) -> None:
    cursor.offset, cursor.crc = offset, crc
    cursor.stuck_since, cursor.searched, cursor.reported = None, 0, False
    cursor.unchecked = -1


def _signs(found: Scan, news: News, before: int) -> Columns:
    """Note starts and ends, and put in the values of odd tensors."""
    points = found.points
    drop: list[int] = []
    for index, raw in found.odd:
        number = events.tensor_number(raw)
        if number is None:
            drop.append(index)
        else:
            points.value[index] = number
    for index, status, step in found.sessions:
        if status == START:
            index -= sum(i < index for i in drop)
            news.starts.append((before + index, step))
    _end(found, news)
    return points.take(np.delete(np.arange(len(points)), drop)) if drop else points


def _end(found: Scan, news: News) -> None:
    """Note the last sign of the end, or what takes it back, and for how long points follow it."""
    signs = [(i, said) for i, data in found.ends if (said := events.session_end(data))]
    signs += [(i, _SESSIONS[status]) for i, status, _ in found.sessions if status in _SESSIONS]
    wall, after = found.points.wall_time, 0
    for index, said in sorted(signs, key=lambda sign: sign[0]):
        news.finished, news.written_on, after = said, 0.0, index
    if news.finished and after < len(wall):
        news.written_on += max(0.0, float(wall[-1] - wall[max(0, after - 1)]))


# ---------------------------------------------------------------------------- damage


@dataclass(slots=True)
class _Reading:
    """One look into one open file: what stands after the cursor goes into the news."""

    fd: int
    size: int
    cursor: Cursor
    plugins: dict[str, str]
    news: News
    now: WallTime
    grace: float

    def to_the_end(self) -> None:
        """Scan from the cursor to the end, over damage as far as ``grace`` allows."""
        cursor, parts, count = self.cursor, list[Columns](), 0
        while True:
            found = scan(self.fd, cursor.offset, self.size, self.plugins)
            points = _signs(found, self.news, count)
            cursor.ignored += found.ignored + len(found.points) - len(points)
            parts.append(points)
            count += len(points)
            moved = found.offset != cursor.offset
            if moved:
                _advance(cursor, found.offset, _stored(self.fd, found.offset))
                cursor.unchecked = found.unchecked
            if found.stop in (Stop.END, Stop.ZEROS):
                cursor.stuck_since = None
                break
            if not self._pass(found.stop, moved=moved):
                break
        self.news.points = joined(parts)
        cursor.points += count

    def _pass(self, stop: Stop, *, moved: bool) -> bool:
        """Move the cursor past what stopped the scan, if it may be; say whether to scan on.

        A record that is only incomplete is left alone until ``grace`` is over, and after it too
        unless sound records follow. One that is whole has been read short, which is no damage: it
        is read once more at once if the scan ``moved``, else at the next look.
        """
        fd, size, cursor = self.fd, self.size, self.cursor
        at = cursor.offset
        over = self.now - self._stuck() >= self.grace
        length = header_length(fetch(fd, HEADER, at))
        after = at + length + FRAME
        if stop is Stop.TAIL and length >= 0 and after <= size:
            return moved
        if stop is Stop.TOO_LONG and after <= size and goes_on(fd, after, size):
            return self._skip(at, after, "a record longer than 64 MiB")
        if not over or cursor.searched == size:
            return False
        if stop is Stop.BAD_BODY and goes_on(fd, after, size):
            return self._skip(at, after, "a record with a wrong checksum")
        lost, begin = at, at + (HEADER if length >= 0 else 1)
        before = cursor.unchecked
        if stop is Stop.BAD_HEADER and before >= 0 and not sound(fd, before, size):
            lost, begin = before, before + HEADER  # the record stepped over was cut short
        following = resync(fd, begin, size)
        if following >= 0:
            return self._skip(lost, following, "broken records")
        cursor.searched = size
        if not cursor.reported:
            cursor.reported = True
            self.news.ailments.append(_unsound_end(cursor, stop, at, size))
        return False

    def _stuck(self) -> WallTime:
        """Return since when nothing after the cursor can be read."""
        cursor = self.cursor
        if cursor.stuck_since is None and cursor.offset < cursor.aged_size:
            cursor.stuck_since = cursor.aged_since
        elif cursor.stuck_since is None:
            cursor.stuck_since = cursor.aged_since = cursor.changed_at
            cursor.aged_size = self.size
        return cursor.stuck_since

    def _skip(self, lost: int, to: int, what: str) -> bool:
        """Go on behind what is lost, and say so."""
        _advance(self.cursor, to, _stored(self.fd, to))
        self.cursor.skipped += to - lost
        detail = f"skipped {to - lost} bytes at byte {lost}: {what}"
        self.news.ailments.append(Ailment(self.cursor.path, Health.DAMAGED, detail, to - lost))
        return True


def _unsound_end(cursor: Cursor, stop: Stop, at: int, size: int) -> Ailment:
    if stop is Stop.TAIL:
        detail = f"the last {size - at} bytes, from byte {at}, are part of a record"
        return Ailment(cursor.path, Health.TRUNCATED, detail)
    detail = f"nothing sound in the last {size - at} bytes, from byte {at}"
    return Ailment(cursor.path, Health.DAMAGED, detail, size - at)

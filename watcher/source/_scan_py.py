"""Which scalar points do these bytes hold, and where does the last whole record end? In Python.

Framing, checksums and columns without a compiler. Most records of a file are one number under a
known tag, and in a tag's records all bytes between step and value are the same. So a block is
taken in four passes: hop from header to header, check the checksums, look up the bytes between
step and value (one dict look-up names the tag), and gather the numbers with numpy. Whatever does
not fit is decoded field by field, once for each new tag and for records with several values.

``_scan.c`` gives the same results for every byte string, sound or broken.
"""

from __future__ import annotations

import os
import struct
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
from google_crc32c import value as crc32c

from watcher.model import Columns, no_points
from watcher.source.framing import (
    FRAME,
    HEADER,
    MAX_RECORD,
    WHOLE,
    Scan,
    Stop,
    header_length,
    masked,
)
from watcher.source.wire import (
    MAX_TENSOR,
    NUMERIC,
    SESSION,
    STEP,
    SUMMARY,
    VALUE,
    WALL,
    WHAT,
    Malformed,
    Sparse,
    Value,
    decode_tensor,
    decode_value,
    fields,
    matters,
    signed,
    varint,
)

HPARAMS_END = "_hparams_/session_end_info"  # the tag of a session's end
SCALARS = "scalars"  # the plugin whose tensors are scalars

_FIRST_BLOCK, _BLOCK = 256 << 10, 1 << 20
_AFTER_LARGE = 16 << 10  # where one payload was stepped over the next may be near
_FEW = 100  # records: for fewer the passes with numpy cost more than they save
_MOST_LAYOUTS = 4  # lengths of what follows the value: 0 for simple_value, one a way of writing
_MOST_HEADERS = 8192

_F4, _F8, _U4 = (struct.Struct(f) for f in ("<f", "<d", "<I"))
_headers: dict[bytes, int] = {}  # sound headers -> length of the whole record


def scan(fd: int, offset: int, size: int, plugins: dict[str, str]) -> Scan:
    """Read the records of ``fd`` from ``offset`` up to ``size``; never move the file's position.

    ``plugins`` is what the metadata said of each tag of the run directory; it is added to. Stops
    before the first record that is incomplete or unsound, and says why.
    """
    taken = _Taken(plugins)
    unchecked, want = -1, _FIRST_BLOCK
    while True:
        ask = min(want, size - offset)
        data = os.pread(fd, ask, offset) if ask > 0 else b""
        starts, used, length = _hop(data)
        good = taken.records(data, starts, used)
        if good < used:
            return taken.result(offset + good, Stop.BAD_BODY, unchecked if good == 0 else -1)
        offset += used
        unchecked = -1 if used else unchecked
        if offset >= size:
            return taken.result(offset, Stop.END, unchecked)
        if length < 0:
            why = Stop.ZEROS if _only_zeros(fd, offset, size) else Stop.BAD_HEADER
            return taken.result(offset, why, unchecked)
        if length > MAX_RECORD + FRAME:
            return taken.result(offset, Stop.TOO_LONG, unchecked)
        # What is left is longer than the file, or the file shrank while it was read.
        if max(length, HEADER) > size - offset or len(data) < ask:
            return taken.result(offset, Stop.TAIL, unchecked)
        if length <= WHOLE + FRAME:
            want = min(max(want * 2, length), _BLOCK)
            continue
        unchecked = offset
        ahead = Sparse(fd, offset + HEADER, data[used + HEADER :])
        if matters(ahead, length - FRAME, plugins):
            record = os.pread(fd, length, offset)
            if len(record) < length:
                return taken.result(offset, Stop.TAIL, -1)
            if taken.records(record, [0], length) == 0:
                return taken.result(offset, Stop.BAD_BODY, -1)
            unchecked = -1
        offset += length
        want = _AFTER_LARGE


def _hop(data: bytes) -> tuple[list[int], int, int]:
    """Return where the whole records start, where they end, and the length of what is next.

    That length counts header and checksums; 0 if the block ends within the header, -1 if the
    header is unsound.
    """
    starts: list[int] = []
    add, known, total = starts.append, _headers.get, len(data)
    at = 0
    while True:
        header = data[at : at + HEADER]
        length = known(header)
        if length is None:
            if len(header) < HEADER:
                return starts, at, 0
            length = header_length(header)
            if length < 0:
                return starts, at, -1
            length += FRAME
            if length > WHOLE + FRAME:
                return starts, at, length
            if len(_headers) >= _MOST_HEADERS:
                _headers.clear()
            _headers[header] = length
        end = at + length
        if end > total:
            return starts, at, length
        add(at)
        at = end


class _Taken:
    """Collects what the records hold."""

    def __init__(self, plugins: dict[str, str]) -> None:
        self.plugins = plugins
        self.ids: dict[str, int] = {}
        self.layouts: dict[int, dict[bytes, int]] = {0: {}}  # bytes after the value -> templates
        self.parts: list[_Part] = []
        self.count = 0
        self.odd: list[tuple[int, bytes]] = []
        self.sessions: list[tuple[int, int, int]] = []
        self.ends: list[tuple[int, bytes]] = []
        self.ignored = 0

    def result(self, offset: int, stop: Stop, unchecked: int) -> Scan:
        """Join the parts."""
        points = no_points()
        if self.parts:
            tag, step, wall, value = (
                column[0] if len(column) == 1 else np.concatenate(column)
                for column in zip(*self.parts, strict=True)
            )
            points = Columns(tuple(self.ids), tag, step, wall, value)
        return Scan(
            points, offset, stop, unchecked, self.odd, self.sessions, self.ends, self.ignored
        )

    def records(self, data: bytes, starts: list[int], end: int) -> int:
        """Take the records that begin at ``starts``; return where the sound ones end."""
        if not starts:
            return end
        if len(starts) < _FEW:
            return self._few(data, starts, end)
        begin = np.array(starts)
        stop = np.append(begin[1:], end)
        crcs = [
            crc32c(data[i:j])
            for i, j in zip((begin + HEADER).tolist(), (stop - 4).tolist(), strict=True)
        ]
        bad = np.flatnonzero(_masked(np.array(crcs, np.uint32)) != _gather(data, stop - 4, "<u4"))
        if len(bad):
            end = starts[bad[0]]
            begin, stop = begin[: bad[0]], stop[: bad[0]]
        self._many(data, begin, stop)
        return end

    def _few(self, data: bytes, starts: list[int], end: int) -> int:
        """Take a handful of records one by one."""
        slow = _Slow(self)
        for record, at in enumerate(starts):
            stop = starts[record + 1] if record + 1 < len(starts) else end
            body = data[at + HEADER : stop - 4]
            if masked(crc32c(body)) != _U4.unpack_from(data, stop - 4)[0]:
                end = at
                break
            if not slow.known(record, body):
                slow.event(record, body)
        self._keep(slow.part(), slow)
        return end

    def _many(self, data: bytes, begin: _Ints, stop: _Ints) -> None:
        """Take sound records: those of known form all at once, the others one by one.

        The first of a form is decoded in full, which teaches the form; so a block is gone over
        again while that pays.
        """
        form = _Form(data, begin, stop)
        tag = np.full(len(begin), -1, np.int32)
        after = np.zeros(len(begin), np.int64)
        slow = _Slow(self)
        todo = np.arange(len(begin))
        while len(todo):
            ready = todo[form.plain[todo]]
            for length, templates in list(self.layouts.items()):
                ready = ready[tag[ready] < 0]
                if templates and len(ready):
                    tag[ready] = form.look_up(ready, length, templates)
                    after[ready] = length
            todo = todo[tag[todo] < 0]
            known = sum(map(len, self.layouts.values()))
            for done, record in enumerate(todo.tolist(), 1):
                body = data[begin[record] + HEADER : stop[record] - 4]
                if not slow.known(record, body):
                    slow.event(record, body)
                if done % _FEW == 0 and sum(map(len, self.layouts.values())) > known:
                    break  # something was learned: look the rest up again
            else:
                break
            todo = todo[done:]
        fast = np.flatnonzero(tag >= 0)
        with np.errstate(invalid="ignore"):  # a signalling NaN is a NaN
            value = _gather(data, stop[fast] - 8 - after[fast], "<f4").astype(np.float64)
        part = (tag[fast], form.step[fast], form.wall(fast), value)
        self._keep(_merged(part, fast, slow), slow)

    def _keep(self, part: _Part, slow: _Slow) -> None:
        """Add the points of a block, and what was found beside them."""
        position = slow.position
        self.odd += [(self.count + int(position[row]), raw) for row, raw in slow.odd]
        for record, status, step in slow.sessions:
            before = int(np.searchsorted(slow.order, record))
            self.sessions.append((self.count + before, status, step))
        for record, content in slow.ends:
            self.ends.append((self.count + int(np.searchsorted(slow.order, record)), content))
        if len(part[0]):
            self.parts.append(part)
            self.count += len(part[0])

    def tag_id(self, tag: str) -> int:
        """Intern a tag."""
        return self.ids.setdefault(sys.intern(tag), len(self.ids))


_Ints = npt.NDArray[np.int64]
_Part = tuple[
    npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64]
]


class _Form:
    """Records seen as wall time, perhaps a step, and the rest."""

    def __init__(self, data: bytes, begin: _Ints, stop: _Ints) -> None:
        self.data, self.begin, self.stop = data, begin, stop
        raw = np.frombuffer(data, np.uint8)
        self.plain = stop - begin >= FRAME + 24  # what follows reads that far
        at = np.where(self.plain, begin, 0)
        self.plain &= raw[at + HEADER] == WALL
        stepped = raw[at + HEADER + 9] == STEP
        digits = [raw[at + HEADER + 10 + i].astype(np.int64) for i in range(5)]
        step, width = digits[0] & 127, np.ones_like(begin)
        more = digits[0] > 127
        for i in range(1, 5):
            step = np.where(more, step | (digits[i] & 127) << 7 * i, step)
            width += more
            more = more & (digits[i] > 127)
        self.plain &= ~(more & stepped)  # steps from 2**35 on, and negative ones
        self.step = np.where(stepped, step, 0)
        self.rest = begin + HEADER + 9 + np.where(stepped, 1 + width, 0)

    def wall(self, records: _Ints) -> npt.NDArray[np.float64]:
        """Gather wall times."""
        return _gather(self.data, self.begin[records] + HEADER + 1, "<f8").astype(np.float64)

    def look_up(self, records: _Ints, after: int, templates: dict[bytes, int]) -> list[int]:
        """Name the tags of records whose value is a float32 with ``after`` bytes behind it."""
        data, get = self.data, templates.get
        stop = self.stop[records] - 8
        bounds = zip(self.rest[records].tolist(), (stop - after).tolist(), strict=True)
        if after == 0:
            return [get(data[i:j], -1) for i, j in bounds]
        return [
            get(data[i:j] + data[j + 4 : j + 4 + after], -1) if j > i else -1 for i, j in bounds
        ]


class _Slow:
    """Decodes events field by field."""

    def __init__(self, taken: _Taken) -> None:
        self.taken = taken
        self.records: list[int] = []
        self.rows: list[tuple[int, int, float, float]] = []
        self.odd: list[tuple[int, bytes]] = []  # row, TensorProto
        self.sessions: list[tuple[int, int, int]] = []  # record, status, step
        self.ends: list[tuple[int, bytes]] = []  # record, plugin data
        self.order: _Ints = np.empty(0, np.int64)  # the record of each point, once merged
        self.position: _Ints = np.empty(0, np.int64)  # where each row went, once merged

    def part(self) -> _Part:
        """Return the points as columns."""
        self.order = np.array(self.records, np.int64)
        self.position = np.arange(len(self.rows))
        tag, step, wall, value = zip(*self.rows, strict=True) if self.rows else ((), (), (), ())
        return (
            np.array(tag, np.int32),
            np.array(step, np.int64),
            np.array(wall, np.float64),
            np.array(value, np.float64),
        )

    def known(self, record: int, body: bytes) -> bool:
        """Take an event of known form; say whether it was one."""
        if len(body) < 24 or body[0] != WALL:
            return False
        step, rest = 0, 9
        if body[9] == STEP:
            try:
                step, rest = varint(body, 10, len(body))
            except Malformed:
                return False
        for after, templates in self.taken.layouts.items():
            at = len(body) - after - 4
            tag = templates.get(body[rest:at] + body[at + 4 :]) if at > rest else None
            if tag is not None:
                wall, number = _F8.unpack_from(body, 1)[0], _F4.unpack_from(body, at)[0]
                self.records.append(record)
                self.rows.append((tag, signed(step), wall, number))
                return True
        return False

    def event(self, record: int, body: bytes) -> None:
        """Take one event whole, or nothing of it if it is not a valid message."""
        rows, odd, ends = len(self.rows), len(self.odd), len(self.ends)
        try:
            self._event(record, body)
        except Malformed:
            self.taken.ignored += 1
            del self.rows[rows:], self.records[rows:], self.odd[odd:], self.ends[ends:]

    def _event(self, record: int, body: bytes) -> None:
        wall, step, what = 0.0, 0, 0
        spans: list[tuple[int, int]] = []
        for key, a, b in fields(body, 0, len(body)):
            if key == WALL:
                wall = _F8.unpack_from(body, a)[0]
            elif key == STEP:
                step = signed(a)
            elif key in WHAT:
                if key != what:
                    what, spans = key, []
                spans.append((a, b))
        if what == SUMMARY:
            values = [
                decode_value(body, c, d)
                for a, b in spans
                for key, c, d in fields(body, a, b)
                if key == VALUE
            ]
            for value in values:
                self._take(record, body, wall, step, value, sole=len(values) == 1)
        elif what == SESSION:
            status = 0
            for a, b in spans:
                for key, number, _ in fields(body, a, b):
                    status = number if key == 8 else status
            self.sessions.append((record, status, step))

    def _take(
        self, record: int, body: bytes, wall: float, step: int, value: Value, *, sole: bool
    ) -> None:
        """Take one value: a point, a sign of the end, or nothing."""
        taken, number, at = self.taken, value.simple, value.at
        plugin, learnable = value.plugin, sole and not value.nameless
        if plugin:
            plugin = taken.plugins.setdefault(value.tag, plugin)
            if plugin == "hparams" and value.tag == HPARAMS_END:
                self.ends.append((record, value.content))
                learnable = False
        else:
            plugin = taken.plugins.get(value.tag, "")
        if number is None:
            if value.tensor is None or plugin not in ("", SCALARS):
                return
            dtype, number, inside = decode_tensor(value.tensor)
            if dtype not in NUMERIC or len(value.tensor) > MAX_TENSOR:
                taken.ignored += plugin == SCALARS
                return
            if number is None:
                self.odd.append((len(self.rows), value.tensor))
                number = float("nan")
            at = at + inside if inside >= 0 and at >= 0 and plugin == SCALARS else -1
        tag = taken.tag_id(value.tag)
        self.records.append(record)
        self.rows.append((tag, step, wall, number))
        if learnable and at >= 0:
            self._learn(body, at, tag)

    def _learn(self, body: bytes, at: int, tag: int) -> None:
        """Remember the bytes around the value at ``at``, if the event has the usual form."""
        rest = 9
        if body[0] != WALL or len(body) < 24:
            return
        if body[9] == STEP:
            _, rest = varint(body, 10, len(body))
        after = len(body) - at - 4
        layouts = self.taken.layouts
        if body[rest] != SUMMARY or (after not in layouts and len(layouts) >= _MOST_LAYOUTS):
            return
        inner, size_end = varint(body, rest + 1, len(body))
        if size_end + inner == len(body):  # nothing stands behind the summary
            layouts.setdefault(after, {})[body[rest:at] + body[at + 4 :]] = tag


def _merged(part: _Part, records: _Ints, slow: _Slow) -> _Part:
    """Put the points of both ways into the order of their records."""
    other = slow.part()
    if not slow.rows:
        slow.order = records
        return part
    both = np.concatenate((records, slow.order))
    order = np.argsort(both, kind="stable")
    slow.order = both[order]
    position = np.empty_like(order)
    position[order] = np.arange(len(order))
    slow.position = position[len(records) :]
    return (
        np.concatenate((part[0], other[0]))[order],
        np.concatenate((part[1], other[1]))[order],
        np.concatenate((part[2], other[2]))[order],
        np.concatenate((part[3], other[3]))[order],
    )


def _masked(crc: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    return (crc >> np.uint32(15) | crc << np.uint32(17)) + np.uint32(0xA282EAD8)


def _gather(data: bytes, at: _Ints, dtype: str) -> npt.NDArray[Any]:
    """Read the numbers that start at each of ``at``, aligned or not."""
    width = np.dtype(dtype).itemsize
    if len(data) < width:
        return np.empty(0, dtype)
    every = np.ndarray((len(data) - width + 1,), dtype, data, strides=(1,))
    return np.ascontiguousarray(every[at])


def _only_zeros(fd: int, offset: int, size: int) -> bool:
    """Whether nothing but zeros is left."""
    while offset < size:
        data = os.pread(fd, min(_BLOCK, size - offset), offset)
        if not data or data.count(0) != len(data):
            return not data
        offset += len(data)
    return True

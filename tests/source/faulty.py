"""A writer that does to its file whatever writers, disks and people do to event files."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.source.growing import GrowingFile, masked, record, scalar

Point = tuple[str, int, float]


class FaultyFile(GrowingFile):
    """An event file that knows what was ever written to it, and which of it still stands.

    ``written`` is every point of every sound record in order of writing, each different from all
    others. ``records`` are the records in the file now: start, length, point.
    """

    def __init__(self, directory: Path, seed: int = 0, tag: str = "a") -> None:
        super().__init__(directory)
        self.random = random.Random(seed)
        self.written: list[Point] = []
        self.records: list[tuple[int, int, Point]] = []
        self.hurt: set[int] = set()  # starts of records that do not stand any more
        self._tag, self._step, self._withheld, self._gap = tag, 0, b"", 0

    # ---------------------------------------------------------------- writing

    def record(self, wall: float = 1.0) -> bytes:
        """Make the next record; whoever writes it notes it with ``_note``."""
        self._step += 1
        return scalar(self._tag, self._step, float(self._step), wall)

    def sound(self, count: int = 1, wall: float = 1.0) -> None:
        """Append sound records."""
        for _ in range(count):
            data = self.record(wall)
            self._note(self.size, data)
            self.write(data)

    def large(self, inner: int = 100_000) -> None:
        """Append a payload that is stepped over."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        value = Summary.Value(tag="image")
        value.image.encoded_image_string = self.random.randbytes(inner)
        self.write(record(Event(step=1, summary=Summary(value=[value])).SerializeToString()))

    def cut_record(self) -> None:
        """Write part of a record, as a writer that died inside it."""
        data = self.record()
        self.write(data[: self.random.randrange(1, len(data))])

    def late(self, count: int = 3) -> None:
        """Write zeros where records will be, as a client that sees the size before the pages."""
        data, at = b"", self.size
        for _ in range(count):
            one = self.record()
            self._note(at + len(data), one)
            data += one
        self._withheld, self._gap = data, at
        self.write(bytes(len(data)))

    def arrive(self) -> None:
        """Let what was late arrive."""
        if self._withheld:
            self.damage(self._gap, self._withheld)
            self._withheld = b""

    def rubbish(self) -> None:
        """Write bytes that are no record: padding, another program's output."""
        kinds: list[Callable[[], bytes]] = [
            lambda: bytes(self.random.randrange(1, 9000)),
            lambda: self.random.randbytes(self.random.randrange(1, 9000)),
            lambda: b"\xff" * self.random.randrange(1, 9000),
            lambda: b"Traceback (most recent call last):\n" * 9,
        ]
        self.write(self.random.choice(kinds)())

    def absurd(self) -> None:
        """Write a header with a valid checksum and a length that cannot be."""
        length = struct.pack("<Q", self.random.choice([2**62, 2**64 - 1, 2**32, (64 << 20) + 1]))
        self.write(length + masked(length))

    # ---------------------------------------------------------------- hurting

    def flip(self, field: str) -> None:
        """Flip one bit in a field of some record: length, length crc, body or body crc."""
        whole = [r for r in self.records if r[0] not in self.hurt]
        if not whole:
            return
        start, length, _ = self.random.choice(whole)
        low, high = {
            "length": (0, 8),
            "length crc": (8, 12),
            "body": (12, length - 4),
            "body crc": (length - 4, length),
        }[field]
        at = start + self.random.randrange(low, high)
        byte = self.path.read_bytes()[at] ^ (1 << self.random.randrange(8))
        self.damage(at, bytes([byte]))
        self.hurt.add(start)

    # ---------------------------------------------------------------- replacing

    def shrink(self) -> None:
        """Cut the file somewhere; a writer goes on there."""
        to = self.random.randrange(self.size + 1)
        self.cut(to)
        self.records = [r for r in self.records if r[0] + r[1] <= to]
        self._withheld = b""

    def replaced(self) -> None:
        """Put another file in its place."""
        self.records, self.hurt, self._withheld = [], set(), b""
        data = b""
        for _ in range(self.random.randrange(1, 9)):
            one = self.record()
            self._note(len(data), one)
            data += one
        self.replace(data)

    def copied(self) -> None:
        """Put a copy in its place: other inode, same bytes."""
        self.replace(self.path.read_bytes())

    def removed(self) -> None:
        """Delete the file and begin another of the same name."""
        self.path.unlink()
        self.path.touch()
        self.records, self.hurt, self._withheld = [], set(), b""

    # ---------------------------------------------------------------- what stands

    @property
    def standing(self) -> list[Point]:
        """Points of the records that are in the file now, whole."""
        return [point for start, _, point in self.records if start not in self.hurt]

    def _note(self, at: int, data: bytes) -> None:
        point = (self._tag, self._step, float(self._step))
        self.written.append(point)
        self.records.append((at, len(data), point))


FIELDS = ("length", "length crc", "body", "body crc")


def is_subsequence(part: Iterable[Point], whole: Iterable[Point]) -> bool:
    """Whether ``part`` is ``whole`` with some left out."""
    rest = iter(whole)
    return all(point in rest for point in part)

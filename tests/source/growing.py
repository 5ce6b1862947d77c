"""An event file that grows, breaks and shrinks as files on a cluster do."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
from google_crc32c import value as crc32c
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

NAME = "events.out.tfevents.1700000000.host.1.0"


def masked(data: bytes) -> bytes:
    """Return the checksum of ``data`` as it stands in a file."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def record(body: bytes) -> bytes:
    """Return the bytes of one record."""
    length = struct.pack("<Q", len(body))
    return length + masked(length) + body + masked(body)


def scalar(tag: str, step: int, value: float, wall: float = 0.0) -> bytes:
    """Return the record of one ``simple_value``, as torch writes it."""
    summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
    return record(Event(wall_time=wall, step=step, summary=summary).SerializeToString())


def tensor(tag: str, step: int, value: Any, plugin: str = "", wall: float = 0.0) -> bytes:
    """Return the record of one tensor; ``value`` is an array or a TensorProto."""
    proto = make_tensor_proto(value) if isinstance(value, np.ndarray | np.generic) else value
    entry = Summary.Value(tag=tag, tensor=proto)
    if plugin:
        entry.metadata.plugin_data.plugin_name = plugin
    event = Event(wall_time=wall, step=step, summary=Summary(value=[entry]))
    return record(event.SerializeToString())


def session(status: int, step: int = 0, wall: float = 0.0) -> bytes:
    """Return the record of a SessionLog."""
    log = SessionLog(status=status)
    return record(Event(wall_time=wall, step=step, session_log=log).SerializeToString())


class GrowingFile:
    """One event file, written piece by piece and flushed each time."""

    def __init__(self, directory: Path, name: str = NAME) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / name
        self.path.touch()

    def write(self, *data: bytes) -> GrowingFile:
        """Append bytes, sound or not."""
        with self.path.open("ab") as out:
            out.writelines(data)
        return self

    def event(self, event: Event) -> GrowingFile:
        """Append an event with tensorboard's own writer."""
        with self.path.open("ab") as out:
            RecordWriter(out).write(event.SerializeToString())
        return self

    def scalars(
        self, tag: str, steps: range, wall: float = 1.0, value: float = 1.0
    ) -> GrowingFile:
        """Append one point a step, a second apart."""
        return self.write(*(scalar(tag, s, value + s, wall + i) for i, s in enumerate(steps)))

    def touch(self, seconds: float) -> GrowingFile:
        """Say that it was written so many seconds from now."""
        at = time.time() + seconds
        os.utime(self.path, (at, at))
        return self

    def damage(self, at: int, data: bytes = b"\xff\xff") -> GrowingFile:
        """Overwrite bytes in place."""
        with self.path.open("r+b") as out:
            out.seek(at)
            out.write(data)
        return self

    def cut(self, size: int) -> GrowingFile:
        """Truncate."""
        os.truncate(self.path, size)
        return self

    def replace(self, data: bytes) -> GrowingFile:
        """Put another file in its place."""
        other = self.path.with_name("other")
        other.write_bytes(data)
        other.replace(self.path)
        return self

    @property
    def size(self) -> int:
        """Bytes by now."""
        return self.path.stat().st_size

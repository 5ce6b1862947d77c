"""What is a record, and what does a scan of records give back? The words both scanners share."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass, field

from google_crc32c import value as crc32c

from watcher.model import Columns

MAX_RECORD = 64 << 20  # a longer one is refused before anything is allocated
WHOLE = 32 << 10  # up to here a record is read whole and checked; a longer one only if it matters
HEADER, FRAME = 12, 16  # length and its checksum; the same and the checksum of the data
START, STOP = 1, 2  # SessionLog.status

_U4, _U8 = struct.Struct("<I"), struct.Struct("<Q")


class Stop(enum.Enum):
    """Why a scan ended where it did."""

    END = "end"  # nothing is left
    TAIL = "tail"  # a record that is not wholly there yet
    ZEROS = "zeros"  # only zeros are left: not written yet
    BAD_HEADER = "bad header"
    BAD_BODY = "bad body"
    TOO_LONG = "too long"


@dataclass(slots=True)
class Scan:
    """What a stretch of a file holds.

    ``offset`` is where the next record begins, or the one that stopped it. ``unchecked`` is the
    start of the record that ends there if it was stepped over without a look at its checksum,
    else -1. ``odd`` are points whose value the caller decodes: index and TensorProto.
    ``sessions`` are SessionLogs: points before it, status, step. ``ends`` are HParams session
    ends: points before it, plugin data. ``ignored`` counts values and records that look like
    scalars and are not.
    """

    points: Columns
    offset: int
    stop: Stop
    unchecked: int = -1
    odd: list[tuple[int, bytes]] = field(default_factory=list)
    sessions: list[tuple[int, int, int]] = field(default_factory=list)
    ends: list[tuple[int, bytes]] = field(default_factory=list)
    ignored: int = 0


def masked(crc: int) -> int:
    """Return the checksum as it stands in a file."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def header_length(header: bytes) -> int:
    """Return the length of the data that a sound header announces, -1 if it is unsound."""
    if len(header) < HEADER or masked(crc32c(header[:8])) != _U4.unpack_from(header, 8)[0]:
        return -1
    return int(_U8.unpack_from(header)[0])

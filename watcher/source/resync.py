"""Where does reading go on behind broken bytes? The search for the next sound record."""

from __future__ import annotations

import os

import numpy as np
from google_crc32c import value as crc32c

from watcher.source.framing import FRAME, HEADER, MAX_RECORD, Stop, header_length, masked
from watcher.source.scan import scan

_BLOCK = 1 << 20


def fetch(fd: int, length: int, at: int) -> bytes:
    """Read ``length`` bytes, fewer only where the file ends: one read may fall short of it."""
    data = os.pread(fd, length, at)
    while len(data) < length and (more := os.pread(fd, length - len(data), at + len(data))):
        data += more
    return data


def goes_on(fd: int, at: int, size: int) -> bool:
    """Whether a sound record, the end of the file or an incomplete tail begins at ``at``."""
    if size - at < HEADER:
        return at <= size
    length = header_length(fetch(fd, HEADER, at))
    if 0 <= length <= MAX_RECORD and at + length + FRAME > size:
        return True
    if length >= 0:
        return sound(fd, at, size)
    return scan(fd, at, size, {}).stop is Stop.ZEROS


def sound(fd: int, at: int, size: int) -> bool:
    """Whether header and body of the record at ``at`` hold."""
    length = header_length(fetch(fd, HEADER, at))
    if not 0 <= length <= MAX_RECORD or at + length + FRAME > size:
        return False
    body = fetch(fd, length, at + HEADER)
    return len(body) == length and masked(crc32c(body)) == u32(fd, at + HEADER + length)


def resync(fd: int, begin: int, size: int) -> int:
    """Return where the next sound record begins, at ``begin`` or after it; -1 if none does."""
    while size - begin >= FRAME:
        data = fetch(fd, min(_BLOCK, size - begin), begin)
        if len(data) < FRAME:
            return -1
        for at in _headers(data):
            if sound(fd, begin + at, size):
                return begin + at
        begin += len(data) - HEADER + 1
    return -1


def _headers(data: bytes) -> list[int]:
    """Return every position where a sound header of a permitted length stands."""
    raw = np.frombuffer(data, np.uint8)
    count = len(raw) - HEADER + 1
    small = raw[3 : 3 + count] <= MAX_RECORD >> 24
    for i in range(4, 8):
        small &= raw[i : i + count] == 0
    at = np.flatnonzero(small)
    zeros = np.ones(len(at), bool)  # a run of zeros is no header
    for i in (0, 1, 2, 3, 8, 9, 10, 11):
        zeros &= raw[at + i] == 0
    at = at[~zeros]
    return [i for i in at.tolist() if header_length(data[i : i + HEADER]) >= 0]


def u32(fd: int, at: int) -> int:
    """Read a checksum."""
    return int.from_bytes(fetch(fd, 4, at), "little")

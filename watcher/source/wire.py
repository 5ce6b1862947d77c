"""What does an event say? Protocol buffers by hand, as far as scalars need it.

Every message that is looked into is checked to its end; what is not looked into is only stepped
over. Events may be given as bytes, or as a stand-in that reads what is looked at.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

MAX_TENSOR = 4 << 10  # a longer tensor is not one number
_LONGEST_TAG = 32 << 10
_WINDOW = 512  # bytes read at once of a record that is probably stepped over

# Keys of the fields (number << 3 | wire type) that are looked at.
WALL, STEP, SUMMARY, SESSION = 9, 16, 42, 58
WHAT = frozenset({26, 34, 42, 50, 58, 66, 74})  # at most one is set; the last one wins
VALUE = 10
_TAG, _SIMPLE, _NODE_NAME, _TENSOR, _METADATA = 10, 21, 58, 66, 74
_OTHER_VALUES = frozenset({26, 34, 42, 50})
_FLOAT, _DOUBLE = 1, 2  # DataType
NUMERIC = frozenset({1, 2, 3, 4, 5, 6, 9, 10, 14, 17, 19, 22, 23})

_F4, _F8 = struct.Struct("<f"), struct.Struct("<d")


@dataclass(slots=True)
class Value:
    """A Summary.Value: at most one of ``simple`` and ``tensor`` is set."""

    tag: str
    nameless: bool
    simple: float | None
    tensor: bytes | None
    at: int  # where the number, or the tensor, starts in the event; -1 if it is in pieces
    plugin: str
    content: bytes


def decode_value(body: bytes, a: int, b: int) -> Value:
    tag, node_name, simple, tensor, at = b"", b"", None, None, -1
    metadata = b""
    for key, c, d in fields(body, a, b):
        if key == _TAG:
            tag = body[c:d]
        elif key == _SIMPLE:
            simple, tensor, at = _F4.unpack_from(body, c)[0], None, c
        elif key == _TENSOR:
            tensor, at = (body[c:d], c) if tensor is None else (tensor + body[c:d], -1)
            simple = None
        elif key == _METADATA:
            metadata += body[c:d]
        elif key == _NODE_NAME:
            node_name = body[c:d]
        elif key in _OTHER_VALUES:
            simple, tensor, at = None, None, -1
    plugin, content = _metadata(metadata) if metadata else ("", b"")
    name = (tag or node_name).decode("utf-8", "backslashreplace")
    return Value(name, not tag, simple, tensor, at, plugin, content)


def _metadata(data: bytes) -> tuple[str, bytes]:
    """Return the plugin's name and data."""
    plugin, content = b"", b""
    for key, a, b in fields(data, 0, len(data)):
        if key == 10:
            for inner, c, d in fields(data, a, b):
                if inner == 10:
                    plugin = data[c:d]
                elif inner == 18:
                    content = data[c:d]
    return plugin.decode("utf-8", "backslashreplace"), content


def decode_tensor(data: bytes) -> tuple[int, float | None, int]:
    """Return the type, the number if it is one plain float, and where a float32 stands.

    Other encodings, and whatever is out of the ordinary, are left to the caller.
    """
    dtype, number, at, plain = 0, None, -1, True
    for key, a, b in fields(data, 0, len(data)):
        if key == 8:
            dtype = a
        elif key == 18:
            plain = plain and _one_element(data, a, b)
        elif key in (34, 42, 45, 49, 50):  # tensor_content, float_val, double_val
            width = 4 if dtype == _FLOAT else 8
            fits = key == 34 or (key in (42, 45)) == (dtype == _FLOAT)
            plain = plain and number is None and fits and b - a == width
            if plain and dtype in (_FLOAT, _DOUBLE):
                number = (_F4 if width == 4 else _F8).unpack_from(data, a)[0]
                at = a if width == 4 else -1
        elif key != 24:  # version_number
            plain = False
    if not plain or dtype not in (_FLOAT, _DOUBLE):
        return dtype, None, -1
    return dtype, number, at


def _one_element(data: bytes, a: int, b: int) -> bool:
    """Whether every dimension of the shape is 1."""
    for key, c, d in fields(data, a, b):
        if key == 18:
            sizes = [number for inner, number, _ in fields(data, c, d) if inner == 8]
            if sizes[-1:] != [1]:
                return False
    return True


# ---------------------------------------------------------------------------- wire format


class Malformed(ValueError):
    """Not a valid message."""


class _Bytes(Protocol):
    """Bytes, or what stands for bytes not read yet."""

    def __getitem__(self, at: int, /) -> int: ...


def fields(data: _Bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield each field's key with its number (and 0), or with the bounds of its bytes."""
    while at < end:
        key = data[at]
        if key > 127:
            key, at = varint(data, at, end)
        else:
            at += 1
        kind = key & 7
        if key < 8 or key >> 32:
            raise Malformed
        if kind == 0:
            number, at = varint(data, at, end)
            yield key, number, 0
            continue
        if kind == 2:
            size, at = varint(data, at, end)
        elif kind == 1:
            size = 8
        elif kind == 5:
            size = 4
        else:
            raise Malformed
        start, at = at, at + size
        if at > end:
            raise Malformed
        yield key, start, at


def varint(data: _Bytes, at: int, end: int) -> tuple[int, int]:
    """Return a number of up to 64 bits and where it ends."""
    number = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
    raise Malformed


def signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


# ---------------------------------------------------------------------------- large records


class Sparse:
    """A record's data, read in small windows where it is looked at."""

    def __init__(self, fd: int, start: int, window: bytes) -> None:
        self._fd, self._start = fd, start
        self._window, self._at = window, 0

    def __getitem__(self, at: int) -> int:
        inside = at - self._at
        if not 0 <= inside < len(self._window):
            self._window, self._at, inside = os.pread(self._fd, _WINDOW, self._start + at), at, 0
            if not self._window:
                raise Malformed
        return self._window[inside]

    def bytes(self, a: int, b: int) -> bytes:
        """Return a short stretch."""
        return bytes(self[i] for i in range(a, b))


def matters(data: Sparse, size: int, plugins: dict[str, str]) -> bool:
    """Whether a large record may hold a scalar, new metadata or a SessionLog, or is malformed."""
    try:
        for key, a, b in fields(data, 0, size):
            if key == SESSION:
                return True
            if key == SUMMARY:
                for inner, c, d in fields(data, a, b):
                    if inner == VALUE and _value_matters(data, c, d, plugins):
                        return True
    except Malformed:
        return True
    return False


def _value_matters(data: Sparse, a: int, b: int, plugins: dict[str, str]) -> bool:
    tag, has_metadata = b"", False
    for key, c, d in fields(data, a, b):
        if key == _SIMPLE or (key == _TENSOR and d - c <= MAX_TENSOR):
            return True
        if key == _TAG:
            tag = data.bytes(c, min(d, c + _LONGEST_TAG))
        has_metadata = has_metadata or key == _METADATA
    known = tag and tag.decode("utf-8", "backslashreplace") in plugins
    return has_metadata and not known

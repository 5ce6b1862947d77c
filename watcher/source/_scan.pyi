from typing import Any

import numpy.typing as npt

_Array = npt.NDArray[Any]

CHECKSUM: str

_Found = tuple[
    tuple[str, ...],
    memoryview,
    memoryview,
    memoryview,
    memoryview,
    int,
    int,
    int,
    list[tuple[int, bytes]],
    list[tuple[int, int, int]],
    list[bytes],
    int,
]

def scan(fd: int, offset: int, size: int, plugins: dict[str, str]) -> _Found: ...
def glimpses(
    files: list[tuple[bytes, int, int, dict[str, str]]],
) -> list[tuple[int, int, int, int, int, _Found] | None]: ...
def grouped(
    tag: _Array, step: _Array, wall_time: _Array, value: _Array, rank: _Array
) -> tuple[list[int], memoryview, memoryview, memoryview]: ...
def crc32c(data: bytes, by_table: bool = False) -> int: ...

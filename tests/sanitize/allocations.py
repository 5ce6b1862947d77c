"""The native scanner gives back what it takes, also when memory runs out at any point."""

from __future__ import annotations

import ctypes
import os

import pytest

from tests.source.growing import record, scalar
from tests.source.mutants import Maker
from watcher.source import _scan

LIBRARY = ctypes.CDLL(_scan.__file__)
HELD = ctypes.c_long.in_dll(LIBRARY, "scan_blocks_held")
LEFT = ctypes.c_long.in_dll(LIBRARY, "scan_allocations_left")


def written(data: bytes) -> int:
    fd = os.memfd_create("events")
    os.pwrite(fd, data, 0)
    return fd


def test_all_memory_is_given_back() -> None:
    for seed in range(500):
        data = Maker(seed).file()
        fd = written(data)
        _scan.scan(fd, 0, len(data), {})
        os.close(fd)
    assert HELD.value == 1  # the block kept for the next scan


@pytest.mark.parametrize("seed", range(40))
def test_memory_may_run_out_at_any_allocation(seed: int) -> None:
    data = Maker(seed).file() if seed else b"".join(scalar(f"t{i}", i, i) for i in range(9000))
    data += record(b"")
    fd = written(data)
    held = HELD.value
    for allowed in range(1, 400):
        LEFT.value = allowed
        try:
            found = _scan.scan(fd, 0, len(data), {"a": "scalars"})
        except MemoryError:
            continue
        finally:
            ran_out = LEFT.value == 0
            LEFT.value = -1
            found = None
        assert HELD.value <= max(held, 1)
        if not ran_out:
            break
    assert not ran_out
    assert found is None
    os.close(fd)


def test_a_closed_file_gives_the_memory_back() -> None:
    held = HELD.value
    for _ in range(10):
        with pytest.raises(OSError, match="Bad file descriptor"):
            _scan.scan(9999, 0, 1000, {})
    assert HELD.value <= max(held, 1)

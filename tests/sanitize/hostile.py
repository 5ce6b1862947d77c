"""The native scanner on a system that fails it: no memory, interrupted and short reads.

Run by ``tests/sanitize.sh``, which builds the scanner against such a system.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal

import pytest

from tests.source.growing import record, scalar
from tests.source.mutants import Maker
from tests.source.test_native import said
from watcher.source import _scan, scan

LIBRARY = ctypes.CDLL(_scan.__file__)
HELD = ctypes.c_long.in_dll(LIBRARY, "scan_blocks_held")
LEFT = ctypes.c_long.in_dll(LIBRARY, "scan_allocations_left")
INTERRUPTIONS = ctypes.c_long.in_dll(LIBRARY, "scan_interruptions_left")
LONGEST = ctypes.c_long.in_dll(LIBRARY, "scan_longest_read")


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
        with contextlib.suppress(MemoryError):
            _scan.scan(fd, 0, len(data), {"a": "scalars"})
        ran_out, LEFT.value = LEFT.value == 0, -1
        assert HELD.value <= max(held, 1)
        if not ran_out:
            break
    assert not ran_out
    os.close(fd)


def test_a_closed_file_gives_the_memory_back() -> None:
    held = HELD.value
    for _ in range(10):
        with pytest.raises(OSError, match="Bad file descriptor"):
            _scan.scan(9999, 0, 1000, {})
    assert HELD.value <= max(held, 1)


@pytest.mark.parametrize("longest", [1, 7, 1000])
def test_interrupted_and_short_reads_change_nothing(longest: int) -> None:
    for seed in range(100):
        data = Maker(seed).file()
        fd = written(data)
        expected = said(scan.native_scan(fd, 0, len(data), {}))
        INTERRUPTIONS.value, LONGEST.value = 3, longest
        try:
            assert said(scan.native_scan(fd, 0, len(data), {})) == expected
        finally:
            INTERRUPTIONS.value, LONGEST.value = 0, 1 << 30
        os.close(fd)


def test_a_signal_ends_a_scan_that_is_interrupted_without_end() -> None:
    def handler(*_: object) -> None:
        raise InterruptedError("enough")

    data = scalar("a", 1, 1)
    fd = written(data)
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    INTERRUPTIONS.value = 1 << 40
    try:
        with pytest.raises(InterruptedError, match="enough"):
            _scan.scan(fd, 0, len(data), {})
    finally:
        INTERRUPTIONS.value = 0
        signal.signal(signal.SIGALRM, before)
        os.close(fd)


def glimpsed(fds: list[int]) -> list[object]:
    files = [(f"/proc/self/fd/{fd}".encode(), 0, 0, {"a": "scalars"}) for fd in fds]
    return list(_scan.glimpses(files))


def test_glimpses_give_all_memory_back_and_do_without_what_they_cannot_get() -> None:
    fds = [written(scalar("a", 1, 1) * 3), written(Maker(5).file()), written(b"x" * 50)]
    fds += [written(b"".join(scalar(f"t{i}", i, i) for i in range(9000)))]
    held, ran_out, allowed = HELD.value, True, 0
    while ran_out:
        allowed += 1
        LEFT.value = allowed
        with contextlib.suppress(MemoryError):
            glimpsed(fds)
        ran_out, LEFT.value = LEFT.value == 0, -1
        assert HELD.value <= max(held, 1)
    assert allowed > 20
    for fd in fds:
        os.close(fd)


def test_glimpses_are_interrupted_and_ended_as_scans_are() -> None:
    fds = [written(scalar("a", i, i) * 1000) for i in range(3)]
    INTERRUPTIONS.value, LONGEST.value = 3, 7
    try:
        assert None not in glimpsed(fds)
    finally:
        INTERRUPTIONS.value, LONGEST.value = 0, 1 << 30

    def handler(*_: object) -> None:
        raise InterruptedError("enough")

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    INTERRUPTIONS.value = 1 << 40
    held = HELD.value
    try:
        with pytest.raises(InterruptedError, match="enough"):
            glimpsed(fds)
    finally:
        INTERRUPTIONS.value = 0
        signal.signal(signal.SIGALRM, before)
    assert HELD.value <= max(held, 1)
    for fd in fds:
        os.close(fd)

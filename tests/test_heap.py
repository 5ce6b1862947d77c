"""What was needed for a moment goes back to the system."""

from __future__ import annotations

from pathlib import Path

import pytest

from watcher import heap


def resident() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1])


def test_pages_between_what_is_still_in_use_are_given_back() -> None:
    if not heap.give_back():
        pytest.skip("this C library cannot give memory back (no malloc_trim)")
    blocks = [bytearray(4000) for _ in range(20_000)]
    kept = blocks[::200]
    full = resident()
    del blocks
    heap.give_back()
    assert resident() < full - 10_000  # of some 20,000 pages
    assert all(len(block) == 4000 for block in kept)

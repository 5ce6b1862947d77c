"""What was needed for a moment goes back to the system."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from tests.logs import write_run
from watcher import heap
from watcher.source.logdir import ONE_SHOT, Logdir


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


def test_garbage_is_looked_for_seldom_while_much_is_made_and_as_before_afterwards() -> None:
    before = gc.get_threshold()
    with heap.filling():
        assert gc.get_threshold()[0] > before[0]
        with heap.filling():  # two roots at once
            pass
    assert gc.get_threshold() == before
    gc.set_threshold(0)  # whoever turned it off finds it so
    try:
        with heap.filling():
            assert gc.get_threshold()[0] == 0
    finally:
        gc.set_threshold(*before)


def test_a_reading_that_is_left_halfway_leaves_no_trace(tmp_path: Path) -> None:
    before = gc.get_threshold()
    for name in ("a", "b"):
        write_run(tmp_path / name, {"loss": [1.0, 2.0]})
    reading = Logdir([tmp_path], ONE_SHOT).files(0.0)
    next(reading)
    reading.close()
    assert gc.get_threshold() == before

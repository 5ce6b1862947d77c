"""Waits for what other threads and processes do; no wait decides what is right."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait(
    until: Callable[[], object], patience: float = 30.0, state: Callable[[], object] = str
) -> None:
    """Return once ``until`` holds; after ``patience`` seconds fail with the ``state``."""
    deadline = time.monotonic() + patience
    while not until():
        assert time.monotonic() < deadline, state()
        time.sleep(0.02)

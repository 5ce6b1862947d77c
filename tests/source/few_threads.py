"""A machine on which no more threads are to be had."""

from __future__ import annotations

import threading

import pytest


def few_threads(monkeypatch: pytest.MonkeyPatch, to_be_had: int) -> None:
    """Let so many threads be started from now on, and no more."""
    start, left = threading.Thread.start, [to_be_had]

    def starts(thread: threading.Thread) -> None:
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", starts)

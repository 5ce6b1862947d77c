"""Tests of the bar that says how far something long is."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.logs import write_run
from watcher import progress, read_scalars


class Terminal(io.StringIO):
    """What looks like a terminal to who writes to it."""

    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO) -> str:
    monkeypatch.setattr("sys.stderr", stderr)
    with progress.progress("runs judged") as told:
        for done in range(5):
            told(done, 5)
    return stderr.getvalue()


def test_a_terminal_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_LONG", 0.0)
    said = shown(monkeypatch, Terminal())
    assert "runs judged" in said
    assert "4/5" in said


def test_what_is_soon_over_or_goes_to_a_file_shows_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "_LONG", 1e9)
    assert shown(monkeypatch, Terminal()) == ""
    monkeypatch.setattr(progress, "_LONG", 0.0)
    assert shown(monkeypatch, io.StringIO()) == ""


def test_each_directory_that_is_read_is_told(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_run(tmp_path / name, {"loss": [1.0, 2.0]})
    told: list[tuple[int, int]] = []
    read_scalars(tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]

"""A checkpoint is whole and ours, or it is not used."""

from __future__ import annotations

import logging
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from watcher.checkpoint import load_checkpoint, save_checkpoint
from watcher.errors import StoreError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint"
    save_checkpoint(path, [{"windows": np.arange(3)}, {"cursors": {"a": 1}}])
    return path


def test_what_was_saved_is_loaded(path: Path) -> None:
    loaded = load_checkpoint(path)
    assert loaded is not None
    windows, cursors = loaded
    assert windows["windows"].tolist() == [0, 1, 2]
    assert cursors == {"cursors": {"a": 1}}
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_is_replaced_as_a_whole_and_leaves_no_other_file(path: Path) -> None:
    save_checkpoint(path, [{"cursors": {"a": 2}}])
    assert load_checkpoint(path) == [{"cursors": {"a": 2}}]
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        save_checkpoint(path, [{"cursors": {}}, {"cursors": lambda: None}])
    assert load_checkpoint(path) == [{"cursors": {"a": 2}}]
    assert [p.name for p in path.parent.iterdir()] == ["checkpoint"]


def test_without_one_there_is_nothing_to_say(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert load_checkpoint(tmp_path / "none") is None
    assert caplog.records == []


@pytest.mark.parametrize("cut", [0, 1, 20, 60, -33, -1])
def test_a_cut_one_is_not_used_and_that_is_logged(
    path: Path, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(path.read_bytes()[:cut])
    with caplog.at_level(logging.WARNING):
        assert load_checkpoint(path) is None
    assert "reading again" in caplog.text


def test_a_changed_byte_anywhere_is_noticed(path: Path) -> None:
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert load_checkpoint(path) is None


def test_one_that_others_may_write_is_refused(path: Path) -> None:
    for mode in (0o620, 0o602, 0o666):
        path.chmod(mode)
        assert load_checkpoint(path) is None


def test_one_of_another_user_is_refused(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 65534, 65534)
    assert load_checkpoint(path) is None


def test_a_link_or_a_pipe_is_refused(path: Path, tmp_path: Path) -> None:
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(path)
    os.mkfifo(pipe)
    assert load_checkpoint(link) is None
    assert load_checkpoint(pipe) is None


def test_one_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="a restart will read again"):
        save_checkpoint(tmp_path / "none" / "checkpoint", [])

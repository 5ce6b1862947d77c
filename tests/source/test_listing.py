"""Directories listed one by one and several at a time."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from tests.source.few_threads import few_threads
from watcher.source.discover import Found, Tree
from watcher.source.listing import Listing, Look, all_listed, listed

NOW = time.time()


def tree_of(root: Path) -> Path:
    """Runs at several depths, links inside, outward and in a circle, markers, a pruned folder."""
    for i in range(60):
        run = root / f"sweep{i % 3}" / f"run{i}" / ("deep" if i % 5 == 0 else "")
        run.mkdir(parents=True)
        (run / f"events.out.tfevents.{i}.host").touch()
        if i % 7 == 0:
            (run / "DONE").touch()
    (root / "__pycache__").mkdir()
    (root / "again").symlink_to(root / "sweep0")
    (root / "sweep1" / "circle").symlink_to(root)
    (root / "sweep1" / "loop").symlink_to(root / "sweep1" / "loop")
    (root / "outside").symlink_to("/usr")
    (root / "sweep2" / "events.out.tfevents.1.linked").symlink_to(
        root / "sweep0" / "run3" / "events.out.tfevents.3.host"
    )
    return root


def told(tree: Tree, found: Found) -> list[object]:
    return [
        [(d.path, d.run, name) for d, name in found.files],
        [(d.path, d.marker) for d in found.marked],
        [d.path for d in found.gone],
        found.ailments,
        [(d.path, d.files, d.subdirs, d.real) for d in tree.directories.values()],
    ]


@pytest.mark.parametrize("budget", [7, 20_000])
def test_a_tree_listed_by_threads_is_the_one_listed_without(tmp_path: Path, budget: int) -> None:
    root = str(tree_of(tmp_path))
    look = Look("within-root", budget=budget)
    alone, together = Tree(root, look), Tree(root, look, threads=5)
    while not (alone.complete and together.complete and alone.directories):
        assert told(alone, alone.sweep(NOW)) == told(together, together.sweep(NOW))
    assert len(alone.directories) > 60


def test_as_many_directories_are_asked_at_once_as_there_are_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"run{i}" for i in range(16)]
    for path in paths:
        path.mkdir()
    here, scandir = threading.Barrier(4), os.scandir

    def waits(path: str) -> object:
        here.wait(30)  # breaks unless four come
        return scandir(path)

    monkeypatch.setattr(os, "scandir", waits)
    found = list(all_listed([str(path) for path in paths], Look(), str(tmp_path), 4))
    assert all(isinstance(listing, Listing) for listing in found)


@pytest.mark.parametrize("to_be_had", [0, 3])
def test_where_no_more_threads_are_to_be_had_all_are_listed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to_be_had: int
) -> None:
    root = str(tree_of(tmp_path))
    alone, together = Tree(root, Look()), Tree(root, Look(), threads=8)
    expected = told(alone, alone.sweep(NOW))
    few_threads(monkeypatch, to_be_had)
    assert told(together, together.sweep(NOW)) == expected


def test_a_directory_that_cannot_be_listed_says_why_and_stops_no_other(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "file").touch()
    paths = [str(tmp_path / name) for name in ("gone", "run", "file")]
    gone, run, file = all_listed(paths, Look(), str(tmp_path), 3)
    assert isinstance(gone, FileNotFoundError)
    assert isinstance(run, Listing)
    assert isinstance(file, NotADirectoryError)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("events.out.tfevents.1.host", True),
        ("my.tfevents", True),
        (".events.out.tfevents.1.host", False),
        ("events.out.tfevents.1.host.tmp", False),
        ("events.out.tfevents.1.host.gz", False),
        ("events.out.tfevents.1.host~", False),
        ("model.ckpt", False),
    ],
)
def test_event_files_are_told_by_their_names(tmp_path: Path, name: str, kept: bool) -> None:
    (tmp_path / name).touch()
    listing = listed(str(tmp_path), Look(), str(tmp_path))
    assert isinstance(listing, Listing)
    assert listing.files == ([name] if kept else [])

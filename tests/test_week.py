"""The short form of ``tests/bench/week.py``: nothing is lost, and nothing piles up."""

from __future__ import annotations

import gc
import math

import pytest

from tests.bench.week import DAY, Week, descriptors, rss


@pytest.mark.parametrize("keep", [math.inf, 2])
def test_a_week_of_runs_loses_none_and_leaves_nothing_open(tmp_path, keep):
    gc.collect()  # what other tests left open is not ours
    open_before = descriptors()
    week = Week(tmp_path, runs=280, polls=160, keep=keep, seed=3)
    half, most = 0.0, 0
    for poll in week.live():
        if poll == 80:
            half = rss()
        most = max(most, descriptors() - open_before)
    week.settle()
    week.check()
    assert most <= 4  # the database, its log, its index
    assert rss() - half < 15.0
    _nothing_piles_up(week)
    week.close()
    assert descriptors() <= open_before


def _nothing_piles_up(week: Week) -> None:
    """What was removed is gone from every table, and some runs that are over hold no curves."""
    for root in week.engine.roots.values():
        source = root.source._roots[root.path]
        there = {one.name for one in week.trainings if not one.gone and one.root == root.path}
        assert {run.key.run for run in source.runs.values()} <= there
        paths = {cursor.path for run in source.runs.values() for cursor in run.cursors.values()}
        assert set(source.trouble) <= paths
        assert set(source.hot) <= paths
        assert set(root.source.health) <= {*paths, root.path}
        assert {name.run for name in root.state.places} <= there
        held = week.clock.now() - 1.1 * DAY
        lately = {one.name for one in week.trainings if one.gone and one.gone_at > held}
        assert {key.run for key in root.state.runs} <= there | lately
        assert len(source.tree.directories) <= len(there) + 8
        released = any(run.released for run in root.state.runs.values())
        assert released or week.keep < week.polls  # then too few are left for that

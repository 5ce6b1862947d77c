"""What would have happened? Moves a clock along runs as they lie and calls the service's tick.

The clock runs along the points' own wall times. Where a run was silent for longer than a rule of
the clock could mind, there are ticks with nothing new, so that a stall is found where it was.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from watcher.judging import merge
from watcher.model import (
    Alert,
    Batch,
    Poll,
    Rule,
    RunKey,
    Signs,
    Transition,
    WallTime,
)
from watcher.pipeline import Plan, State, placed, tick

_SILENCE = 60.0  # seconds; a shorter gap is no silence, unless a rule says so
_GROWTH = 1.1  # ticks within a silence come at its beginning densely, then ever more rarely


@dataclass(frozen=True, slots=True)
class _Piece:
    """The part of one directory's history that one tick brings."""

    begins: WallTime
    at: WallTime
    batch: Batch


def play(
    batches: Sequence[Batch],
    plan: Plan,
    *,
    until: WallTime | None = None,
    stops: Sequence[WallTime] = (),
    state: State | None = None,
) -> Iterator[tuple[WallTime, State, tuple[Transition, ...]]]:
    """Yield the state after each tick over ``batches`` (one run's, in order), with what it said.

    ``until``: judge as if now were then; points after it are not there yet. Without it the last
    tick is at the run's own last point. ``stops``: further times to tick at.
    """
    state = state or State()
    silence = _shortest_silence(plan)
    pieces = _pieces(batches, silence, until, stops)
    last = -math.inf
    for begins, at, poll in pieces:
        if math.isfinite(last):
            for between in _quiet(last, begins, silence):
                yield (
                    between,
                    state,
                    tick(state, Poll(()), plan, between, recorded=True).transitions,
                )
        yield at, state, tick(state, poll, plan, at, recorded=True).transitions
        last = at
    end = max([last, *stops]) if until is None else until
    if math.isfinite(last):
        for between in _quiet(last, end, silence):
            yield between, state, tick(state, Poll(()), plan, between, recorded=True).transitions
        yield end, state, tick(state, Poll(()), plan, end, recorded=True).transitions


def snapshots(
    batches: Sequence[Batch], rules: Sequence[Rule], at: Sequence[WallTime]
) -> list[tuple[Alert, ...]]:
    """Return every alert, in any state, as it stands at each of the sorted times ``at``."""
    plan = Plan(tuple(rules))
    shown: list[tuple[Alert, ...]] = []
    held: dict[str, Alert] = {}
    waiting = list(at)
    for now, state, transitions in play(batches, plan, stops=at):
        while waiting and now > waiting[0]:
            shown.append(tuple(held.values()))
            waiting.pop(0)
        for transition in transitions:
            held[transition.alert.fingerprint] = transition.alert
        held |= {a.fingerprint: a for a in state.alerts()}
    return shown + [tuple(held.values())] * len(waiting)


def findings(
    batches: Sequence[Batch], plan: Plan, *, until: WallTime | None = None
) -> tuple[list[Alert], State]:
    """Return every alert that fired over the batches of one run, as it stood at the end."""
    fired: dict[str, Alert] = {}
    state = State()
    for _, _, transitions in play(batches, plan, until=until, state=state):
        for transition in transitions:
            if transition.alert.fired_at is not None:
                fired[transition.alert.fingerprint] = transition.alert
    held = {a.fingerprint: a for a in state.alerts() if a.fired_at is not None}
    return list((fired | held).values()), state


def by_run(batches: Sequence[Batch], plan: Plan) -> dict[RunKey, list[Batch]]:
    """Sort batches to the runs their directories belong to; each run can be replayed alone."""
    tags: dict[RunKey, set[str]] = defaultdict(set)
    for batch in batches:
        tags[batch.run].update(batch.points.tags)
    found: dict[RunKey, list[Batch]] = defaultdict(list)
    for batch in batches:
        run, _ = placed(batch.run, tags[batch.run], plan, tags)
        found[run].append(batch)
    return dict(found)


def _shortest_silence(plan: Plan) -> float:
    """Return the shortest silence, in seconds, that a rule of the clock may mind."""
    said = [getattr(rule.params, "min_silence", math.inf) for rule in plan.rules]
    return max(1.0, min([_SILENCE, *said]))


def _quiet(last: WallTime, until: WallTime, silence: float) -> Iterator[WallTime]:
    """Yield times to look at within a silence, both ends left out."""
    wait = silence
    while last + wait < until:
        yield last + wait
        wait *= _GROWTH


def _pieces(
    batches: Sequence[Batch],
    silence: float,
    until: WallTime | None,
    stops: Sequence[WallTime],
) -> list[tuple[WallTime, WallTime, Poll]]:
    """Cut a run's history where it was silent, and say when each piece began and was there.

    A directory's batches never share a piece: a new try or a resume is a poll of its own.
    """
    timed = [
        (clock, batch) for batch in batches if len(clock := merge([("", batch.points)]).wall_time)
    ]
    new = [clock[batch.retained :] for clock, batch in timed]
    if not new:
        return []
    every = np.unique(np.concatenate(new))
    edges = [every[1:][np.diff(every) > silence], np.asarray(stops, float)]
    edges += [clock[b.retained : b.retained + 1] for clock, b in timed if b.fresh]
    cuts = np.unique(np.concatenate(edges))
    groups: dict[int, list[_Piece]] = defaultdict(list)
    for clock, batch in timed:
        for number, piece in _slices(batch, clock, cuts, until):
            groups[number].append(piece)
    return [
        (
            min(p.begins for p in pieces),
            max(p.at for p in pieces),
            Poll(tuple(p.batch for p in pieces)),
        )
        for _, pieces in sorted(groups.items())
    ]


def _slices(
    batch: Batch, clock: np.ndarray, cuts: np.ndarray, until: WallTime | None
) -> Iterator[tuple[int, _Piece]]:
    """Cut one batch at the wall times ``cuts``; the points it retains go with its first piece."""
    number = np.searchsorted(cuts, clock, side="right")
    number[: batch.retained] = number[batch.retained] if batch.retained < len(number) else -1
    stop_all = len(clock) if until is None else int(np.searchsorted(clock, until, side="right"))
    edges = np.flatnonzero(np.diff(number)) + 1
    starts = [0, *edges.tolist()]
    stops = [*edges.tolist(), len(clock)]
    for start, stop in zip(starts, stops, strict=True):
        stop = min(stop, stop_all)
        if stop <= start:
            return
        at = float(clock[stop - 1])
        yield (
            int(number[start]),
            _Piece(
                float(clock[min(batch.retained, stop - 1) if start == 0 else start]),
                at,
                dataclasses.replace(
                    batch,
                    points=batch.points.take(slice(start, stop)),
                    observed_at=at,
                    seen_at=at,
                    fresh=batch.fresh and start == 0,
                    superseded_from=batch.superseded_from if start == 0 else None,
                    retained=min(batch.retained, stop) if start == 0 else 0,
                    signs=batch.signs if stop == len(clock) else Signs(),
                ),
            ),
        )

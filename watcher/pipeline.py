"""What happens in a tick? All of it pure: what was read comes in as a ``Poll``, time as ``now``.

There is no file, socket, database, thread or clock here. The service, a scan and a pack's test
run this same function.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from watcher import judging, ownalerts
from watcher.evaluate import applies
from watcher.judging import Moment
from watcher.model import (
    Alert,
    Batch,
    Poll,
    Rule,
    RunKey,
    RunState,
    Slot,
    Transition,
    WallTime,
)
from watcher.roles import Pin
from watcher.runs import place
from watcher.watched import IDLE, Ended, Member, Watched

_GONE = 86400.0  # seconds that a removed run is held, in case its directory is only moved about
_LATELY = 3600.0  # seconds in which a message about a run may still be on its way


@dataclass(frozen=True)
class Plan:
    """What is asked of every tick: the rules, who they may see, and how runs are told apart.

    ``grants``: the roots a team's rules may look at; a team that is not named sees them all, but
    for the runs that their label ``team`` gives to another of the ``teams``.
    ``labels`` gives a run's labels from its path. ``grouping`` per root, True where not named.
    ``version`` differs whenever rules or pins differ. ``ended_after``: seconds of silence after
    which a run without a sign of completion has ended. ``refused``: teams whose rules are not
    taken, and why, by the root at which they are told; "" for the operator's rules and config.
    """

    rules: tuple[Rule, ...]
    pins: tuple[Pin, ...] = ()
    grants: Mapping[str, frozenset[str]] = field(default_factory=dict)
    teams: frozenset[str] = frozenset()
    labels: Callable[[RunKey], Mapping[str, str]] = field(default=lambda run: {})
    grouping: Mapping[str, bool] = field(default_factory=dict)
    ended_after: float = 6 * 3600.0
    version: int = 0
    refused: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def refused_teams(self) -> Collection[str]:
        """Teams whose rules are not taken."""
        return {team for told in self.refused.values() for team in told if team}

    def labels_for(self, run: RunKey) -> Mapping[str, str]:
        """Return the run's labels, from its path."""
        return self.labels(run)

    def rules_for(self, run: RunKey) -> Sequence[Rule]:
        """Return the rules that may look at ``run``: the team may see it, and it matches."""
        labels = self.labels(run)
        owner = labels.get("team", "")
        others = self.teams - {owner} if owner in self.teams else frozenset()
        return [
            rule
            for rule in self.rules
            if run.root in self.grants.get(rule.team, (run.root,))
            and rule.team not in others
            and applies(rule, run, labels)
        ]


@dataclass(frozen=True, slots=True)
class KnownRun:
    """What the store remembers of a run, so that points read again are not judged again."""

    attempt: int
    judged: Mapping[str, int]
    alerts: tuple[Alert, ...]
    state: RunState = RunState.RUNNING
    outcome: str = ""


@dataclass(slots=True)
class State:
    """All that a tick moves on.

    ``known``: what the store remembers of runs not yet seen again. ``pointless``: directories
    whose event files hold no point yet. ``own``: alerts that are about no run. ``judge_from``:
    points recorded before it are history, and get one look, at their end.
    """

    runs: dict[RunKey, Watched] = field(default_factory=dict)
    places: dict[RunKey, tuple[RunKey, str]] = field(default_factory=dict)  # directory -> run
    pointless: set[RunKey] = field(default_factory=set)
    root: str = ""  # where the watcher tells what is its own matter
    own: dict[Slot, Alert] = field(default_factory=dict)
    known: dict[RunKey, KnownRun] = field(default_factory=dict)
    judge_from: WallTime = -math.inf

    def alerts(self) -> list[Alert]:
        """Every alert held, open or last closed of its slot."""
        held = [a for run in self.runs.values() for a in run.alerts.values()]
        return [*held, *self.own.values()]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a tick changed: alerts' steps in order, and the runs whose record is to be saved.

    ``wanted``: run directories whose whole history is needed again, with what is new in them.
    """

    transitions: tuple[Transition, ...]
    changed: tuple[Watched, ...]
    wanted: frozenset[RunKey] = frozenset()


def tick(
    state: State, poll: Poll, plan: Plan, now: WallTime, *, recorded: bool = False
) -> Outcome:
    """Move ``state`` on by what a poll brought and by the time that passed.

    1. Wake runs that were released and write again; they have to wait for their history.
    2. Sort the batches to the runs they belong to.
    3. Let each run take its points, judged at its own checkpoints.
    4. Let each run look at the clock; not those under a root that cannot be read.
    """
    said: list[Transition] = []
    changed: dict[RunKey, Watched] = {}
    seen_before = frozenset(state.runs) if poll.batches else frozenset()
    _place(state, poll.batches, plan)
    wanted = _wake(state, poll.batches, now, said)
    ready = [b for b in poll.batches if b.run not in wanted or b.gone]
    for key, rounds in _by_run(state, ready).items():
        run = state.runs[key]
        run.alive |= recorded or key in seen_before
        for batches in rounds:
            live = all(b.seen_at == b.observed_at and not b.fresh for _, b in batches)
            moment = Moment(now, -math.inf if live else state.judge_from, recorded)
            said += judging.absorb(run, batches, plan, moment)
        changed[key] = run
    said += _vanished(state, poll.batches, now, changed)
    own = ownalerts.of_roots(state.own, poll.unreachable)
    own += ownalerts.of_rules(state.own, state.root, plan.refused.get(state.root, {}))
    for one in own:
        said += ownalerts.advance(state.own, one, plan.labels_for(one.slot.run), now)
    siblings = _siblings(state)
    for key, run in state.runs.items():
        if key.root in poll.unreachable:
            continue
        before = run.state
        steps = judging.look(run, plan, now, siblings.get(_parent(key), Ended()))
        if steps or run.state is not before:
            changed[key] = run
        said += steps
    return Outcome(tuple(said), tuple(changed.values()), wanted)


def release(state: State, now: WallTime, keep: int) -> None:
    """Give up the curves of runs that are over, but for the latest with ``keep`` of them in all.

    They are read again if the run writes again. Kept are those of which something was said of
    late, for a picture of it may be wanted.
    """
    over = [r for r in state.runs.values() if r.windows and r.state in IDLE]
    if sum(len(run.windows) for run in over) <= keep:
        return
    for run in sorted(over, key=lambda run: run.seen_at, reverse=True):
        keep -= len(run.windows)
        if keep < 0 and not _said_of_late(run, now) and _simple(state, run):
            run.release()


def forget(state: State, now: WallTime) -> None:
    """Drop runs whose directories were removed a day ago; the store has their record.

    A directory of that name that appears later is another run.
    """
    for run in [r for r in state.runs.values() if r.state is RunState.GONE]:
        if now - run.gone_at > _GONE:
            del state.runs[run.key]


def _said_of_late(run: Watched, now: WallTime) -> bool:
    alerts = run.alerts.values()
    return any(max(a.fired_at or 0.0, a.resolved_at or 0.0) > now - _LATELY for a in alerts)


def _simple(state: State, run: Watched) -> bool:
    """Whether reading the run's directories again brings back just what is held of it.

    Not if they are at different tries, or if one has several writers.
    """
    root, members = run.key.root, run.members
    several = any("#" in name or RunKey(root, f"{name}#2") in state.places for name in members)
    return not several and all(m.attempt == run.attempt for m in members.values())


def _wake(
    state: State, batches: Iterable[Batch], now: WallTime, said: list[Transition]
) -> frozenset[RunKey]:
    """Wake released runs that have new points; return their directories, to be read again.

    What a batch does to the run, as a resume or a new try, it does now; its points come again.
    """
    woken: dict[RunKey, Watched] = {}
    for batch in batches:
        key, prefix = state.places.get(batch.run, (None, ""))
        run = state.runs.get(key) if key is not None else None
        if run is None or not run.released or not len(batch.points):
            continue
        if not run.members:  # its directory was removed: this is another one
            run.wake()
            continue
        said += run.open_batch(prefix, batch, now)
        woken[run.key] = run
    for run in woken.values():
        run.wake()
    return frozenset(directory for directory, (key, _) in state.places.items() if key in woken)


def _place(state: State, batches: Iterable[Batch], plan: Plan) -> None:
    """Settle whose directory each is, once it has points: until then nothing tells."""
    for batch in batches:
        if batch.gone or len(batch.points):
            state.pointless.discard(batch.run)
        elif batch.run not in state.places:
            state.pointless.add(batch.run)
    coming = {batch.run for batch in batches if not batch.gone}
    for batch in batches:
        if batch.run not in state.places and len(batch.points) and not batch.gone:
            known = coming, state.places, state.pointless
            state.places[batch.run] = placed(batch.run, batch.points.tags, plan, *known)


def placed(
    directory: RunKey, tags: Collection[str], plan: Plan, *known: Container[RunKey]
) -> tuple[RunKey, str]:
    """Return the run that a directory belongs to, and what stands before its tags there.

    ``known``: the directories that hold event files.
    """

    def holds(run_dir: str) -> bool:
        key = RunKey(directory.root, run_dir)
        return any(key in some for some in known)

    grouping = plan.grouping.get(directory.root, True)
    where = place(directory.run, tags, grouping=grouping, holds=holds)
    return RunKey(directory.root, where.run), where.prefix


def _by_run(state: State, batches: Iterable[Batch]) -> dict[RunKey, list[list[tuple[str, Batch]]]]:
    """Sort batches to runs, in rounds: of each directory the next batch, earlier tries first."""
    queues: dict[RunKey, dict[RunKey, list[Batch]]] = defaultdict(lambda: defaultdict(list))
    for batch in batches:
        if not batch.gone and batch.run in state.places:
            queues[state.places[batch.run][0]][batch.run].append(batch)
    return {key: _rounds(_watched(state, key), state, of) for key, of in queues.items()}


def _watched(state: State, key: RunKey) -> Watched:
    if key not in state.runs:
        run = state.runs[key] = Watched(key)
        if (known := state.known.pop(key, None)) is not None:
            run.attempt, run.judged, run.state = known.attempt, dict(known.judged), known.state
            run.alerts, run.outcome = {a.slot: a for a in known.alerts}, known.outcome
            run.alive = known.state in (RunState.RUNNING, RunState.STALLED)
    return state.runs[key]


def _rounds(
    run: Watched, state: State, queues: Mapping[RunKey, list[Batch]]
) -> list[list[tuple[str, Batch]]]:
    waiting = {d: _unseen_history(run, d, b) for d, b in queues.items()}
    rounds = []
    while waiting := {d: b for d, b in waiting.items() if b}:
        attempt = min(b[0].attempt for b in waiting.values())
        first = {d: b.pop(0) for d, b in waiting.items() if b[0].attempt == attempt}
        rounds.append([(state.places[d][1], batch) for d, batch in first.items()])
    return rounds


def _unseen_history(run: Watched, directory: RunKey, batches: list[Batch]) -> list[Batch]:
    """Of a directory read again after a restart, take only what was not taken back since."""
    if directory.run in run.members:
        return list(batches)
    newest = [b for b in batches if b.attempt >= run.attempt]
    if not newest:  # another directory's new try made an end of this history, not of what follows
        run.members[directory.run] = Member(batches[-1].attempt)
    if not run.judged:
        return newest
    starts = [i for i, b in enumerate(newest) if b.fresh]
    return newest[starts[-1] :] if starts else newest


def _vanished(
    state: State, batches: Iterable[Batch], now: WallTime, changed: dict[RunKey, Watched]
) -> list[Transition]:
    """Note removed directories; a run is gone when its last directory is."""
    said: list[Transition] = []
    for batch in batches:
        if not batch.gone or batch.run not in state.places:
            continue
        key = state.places.pop(batch.run)[0]
        run = state.runs[key]
        run.leave(batch.run.run)
        if not run.members:
            said += judging.vanish(run, now)
            changed[key] = run
    return said


def _siblings(state: State) -> dict[str, Ended]:
    """Say, per parent directory, which runs stopped at the last step that any of them reached.

    Where one went further, those that ended before may have died.
    """
    ends: dict[str, list[Watched]] = defaultdict(list)
    stalled: dict[str, list[Watched]] = defaultdict(list)
    reached: dict[str, int] = {}
    for key, run in state.runs.items():
        parent = _parent(key)
        reached[parent] = max(run.last_step, reached.get(parent, run.last_step))
        if run.state in (RunState.FINISHED, RunState.ENDED):
            ends[parent].append(run)
        elif run.state is RunState.STALLED:
            stalled[parent].append(run)
    return {
        parent: Ended(last, _keys_at(last, ends[parent]), _keys_at(last, stalled[parent]))
        for parent, last in reached.items()
        if ends[parent] or stalled[parent]
    }


def _keys_at(step: int, runs: Iterable[Watched]) -> frozenset[RunKey]:
    return frozenset(run.key for run in runs if run.last_step == step)


def _parent(key: RunKey) -> str:
    return f"{key.root}\n{key.run.rpartition('/')[0]}"

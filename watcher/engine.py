"""How does a tick meet the world? Polls a root, runs the pure tick, commits what it said.

Knows no scheduler and no signal: the service's jobs call it, and so can a test.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from watcher import ownalerts
from watcher.checkpoint import load_checkpoint, save_checkpoint
from watcher.clock import Clock, Steps
from watcher.errors import StoreError
from watcher.model import (
    Ailment,
    AlertState,
    Notice,
    Poll,
    RunKey,
    RunState,
    Slot,
    Transition,
    WallTime,
)
from watcher.picture import picture
from watcher.pipeline import KnownRun, Plan, State, forget, release, tick
from watcher.routing import Heard, HeardKey, Route, queue, remember, update, without_resolved
from watcher.source.logdir import PART, Logdir
from watcher.source.saves import find_checkpoint
from watcher.stopping import when_to_stop
from watcher.store import Changes, RunRow, Saved, Store
from watcher.tally import RootTally, Tally
from watcher.watched import IDLE, Watched

log = logging.getLogger(__name__)

KEPT = 500  # curves of runs that are over, 40 kB at most each, for charts and late growth
HUNG = 60.0  # seconds without an answer after which a root counts as unreachable


@dataclass(slots=True)
class Root:
    """One root: where it is read from, what is held of it, what is not committed yet."""

    path: str
    source: Logdir
    state: State
    owed: list[Transition] = field(default_factory=list)
    changed: dict[RunKey, Watched] = field(default_factory=dict)
    wanted: set[RunKey] = field(default_factory=set)  # directories to be read from the start
    polling_since: float | None = None  # monotonic seconds
    busy: threading.Lock = field(default_factory=threading.Lock)  # read, or being saved
    unreachable: str = ""  # why it cannot be read, as of the last tick
    said: Mapping[Slot, str] = field(default_factory=dict)  # of the watcher itself, as committed
    tally: RootTally = field(default_factory=RootTally)


class Engine:
    """Polls, ticks and commits, one tick at a time.

    ``heard`` is what receivers have been told, as committed. A commit that fails leaves what is
    owed with its root, and the next tick tries again: nothing that was judged is lost.
    ``no_resolved``: receivers that are not told of resolutions.
    """

    def __init__(
        self,
        roots: Sequence[Root],
        plan: Plan,
        routes: Sequence[Route],
        store: Store,
        clock: Clock,
        heard: Mapping[HeardKey, Heard],
        *,
        no_resolved: Collection[str] = (),
    ) -> None:
        self.roots = {root.path: root for root in roots}
        self.plan = plan
        self.routes = routes
        self.ticked_at = clock.monotonic()
        self.tally = Tally()
        self.failing = ""  # why the last tick could not be committed
        self.ticking = ""  # the root that the others wait for
        self._store = store
        self._clock = clock
        self._heard = dict(heard)
        self._no_resolved = frozenset(no_resolved)
        self._steps = Steps(clock)
        self._lock = threading.Lock()

    def poll(self, path: str) -> int:
        """Read what is new under one root, judge it, and return how many notices were queued.

        StoreError: not committed, and kept for the next tick.
        """
        root = self.roots[path]
        with root.busy:  # until what was read is in the windows: they are saved with the cursors
            queued = self._take(root, self._read(root))
            if root.wanted:
                root.source.reread(root.wanted)
                root.wanted.clear()
                queued += self._take(root, self._read(root))
        return queued

    def _read(self, root: Root) -> Poll:
        began = root.polling_since = self._clock.monotonic()
        try:
            poll = root.source.poll(self._clock.now())
        finally:
            root.polling_since = None
        root.tally.polled(poll, began, self._clock.monotonic())
        for ailment in poll.ailments:
            _log_ailment(ailment)
        return poll

    def check_hung(self) -> None:
        """Count a root whose poll does not come back as unreachable: one alert, not thousands."""
        now = self._clock.monotonic()
        for root in self.roots.values():
            since = root.polling_since
            if since is not None and now - since > HUNG:
                why = f"no answer for {now - since:.0f} s, the mount may hang"
                self._take(root, Poll((), unreachable={root.path: why}))

    def _take(self, root: Root, poll: Poll) -> int:
        """Tick and commit. In between the mount is asked for checkpoints: it may hang, so that
        is done without the lock, and only by the thread that polls the root.
        """
        with self._turn(root):
            began = self._clock.monotonic()
            now = self._clock.now()
            if step := self._steps.taken():
                self._clock_set(step)
            before, root.unreachable = root.unreachable, poll.unreachable.get(root.path, "")
            if root.unreachable and not before:
                log.warning("root unreachable root=%r why=%r", root.path, root.unreachable)
            elif before and not root.unreachable:
                log.info("root read again root=%r", root.path)
            outcome = tick(root.state, poll, self.plan, now)
            self.tally.took(outcome.transitions)
            root.wanted |= outcome.wanted
            root.owed += outcome.transitions
            root.changed |= {run.key: run for run in outcome.changed}
            ticking = self._clock.monotonic() - began
        reachable = not root.unreachable
        saved = self._checkpoints(root, outcome.transitions) if reachable else {}
        with self._turn(root):
            began = self._clock.monotonic()
            root.owed = [_with_checkpoint(one, root.state, saved) for one in root.owed]
            release(root.state, now, KEPT // len(self.roots))
            forget(root.state, now)
            try:
                told = self._tell(root, now)
            except StoreError as error:
                self.tally.uncommitted += 1
                self.failing = str(error)
                raise
            else:
                self.failing = ""
                return told
            finally:
                self.tally.ticked(ticking + self._clock.monotonic() - began)

    @contextmanager
    def _turn(self, root: Root) -> Iterator[None]:
        with self._lock:
            self.ticking = root.path
            try:
                yield
            finally:
                self.ticking = ""

    def _clock_set(self, step: float) -> None:
        """Tell each run, before any is judged by the new time."""
        for root in self.roots.values():
            for run in root.state.runs.values():
                run.clock_set(step)

    def _tell(self, root: Root, now: WallTime) -> int:
        """Queue what is owed and commit; return how many notices that were."""
        notices = queue(
            root.owed,
            root.state.alerts(),
            self._heard,
            self.routes,
            now,
            silences=self._store.list_silences(),
            acknowledged=self._store.list_acknowledged(),
        )
        self.ticked_at = self._clock.monotonic()
        own = {slot: alert.reason for slot, alert in root.state.own.items() if alert.open}
        if root.changed or root.owed or notices or own != root.said:
            self._commit(root, notices, now)
            root.said = own
        return len(notices)

    def _checkpoints(self, root: Root, said: Sequence[Transition]) -> dict[str, str]:
        """Look for the checkpoint to go back to, for each alert that begins to fire.

        Looked for once, by the thread that just read the root: a sender never waits for a mount.
        """
        fired = [t.alert for t in said if t.alert.state is AlertState.FIRING and not t.escalated]
        steps = [(alert, alert.best_step) for alert in fired if alert.best_step is not None]
        if not steps:
            return {}
        root.polling_since = self._clock.monotonic()
        try:
            return {a.fingerprint: find_checkpoint(a.root, a.run, step) for a, step in steps}
        finally:
            root.polling_since = None

    def _commit(self, root: Root, notices: tuple[Notice, ...], now: WallTime) -> None:
        heard = remember(notices, self._heard)
        held = {key: tuple(run.alerts.values()) for key, run in root.changed.items()}
        said = {transition.alert.slot for transition in root.owed}
        for slot, alert in root.state.own.items():  # its key is that of a run "." in the root
            if not alert.open and slot not in said:
                continue  # closed, and written as such
            same = root.state.runs.get(slot.run)
            known = held.get(slot.run, tuple(same.alerts.values()) if same else ())
            held[slot.run] = (*known, alert)
        self._store.commit(
            Changes(
                tick_at=now,
                alerts=held,
                transitions=tuple(root.owed),
                notices=without_resolved(notices, self._no_resolved),
                heard=heard,
                runs=tuple(_row(run) for run in root.changed.values()),
            )
        )
        root.owed.clear()
        root.changed.clear()
        update(self._heard, heard)

    def chart(self, notice: Notice) -> bytes | None:
        """Draw the first alert of a notice, None if there is nothing to draw."""
        if not notice.alerts:
            return None
        alert = notice.alerts[0]
        root = self.roots.get(alert.root)
        if root is None:
            return None
        with self._lock:  # windows move under a tick
            run = root.state.runs.get(alert.slot.run)
            return picture(run, alert) if run is not None else None

    # ---------------------------------------------------------------- over a restart

    def save(self, path: Path) -> None:
        """Save windows and cursors together.

        Roots with reading under way are left out; those that are saved are not read meanwhile.
        """
        with self._lock, ExitStack() as stack:
            still = []
            for root in self.roots.values():
                if root.busy.acquire(blocking=False):
                    stack.callback(root.busy.release)
                    still += [] if root.wanted else [root]
            save_checkpoint(path, (part for root in still for part in _parts(root)))


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of what a checkpoint keeps of a root: how far it was read, or some of its runs."""

    path: str
    read: Mapping[str, Any] | None = None
    runs: Mapping[RunKey, Watched] = field(default_factory=dict)
    places: Mapping[RunKey, tuple[RunKey, str]] = field(default_factory=dict)
    pointless: frozenset[RunKey] = frozenset()


def _parts(root: Root) -> Iterator[_Part]:
    yield _Part(root.path, places=root.state.places, pointless=frozenset(root.state.pointless))
    for read in root.source.snapshot():
        yield _Part(root.path, read)
    runs = list(root.state.runs.items())
    for at in range(0, len(runs), PART):
        yield _Part(root.path, runs=dict(runs[at : at + PART]))


def restore(
    roots: Sequence[str], sources: Mapping[str, Logdir], saved: Saved, checkpoint: Path | None
) -> list[Root]:
    """Return the roots as they were: windows and cursors of the checkpoint, alerts of the store.

    A root whose checkpoint is missing or does not fit the store is read again from the start;
    what the store says was judged is then not judged a second time.
    """
    kept: dict[str, list[_Part]] = {}
    for part in (load_checkpoint(checkpoint) if checkpoint else None) or ():
        kept.setdefault(part.path, []).append(part)
    found = []
    for path in roots:
        here = saved.alerts.get(RunKey(path, "."), ())
        own = {alert.slot: alert for alert in here if alert.slot.rule in ownalerts.IDS}
        state = State(root=path, own=own, known=_known(path, saved))
        source = sources[path]
        held = kept.pop(path, [])
        runs = {key: run for part in held for key, run in part.runs.items()}
        if held and _fits(runs, state.known):
            state.runs = runs
            state.places = {of: place for part in held for of, place in part.places.items()}
            state.pointless = {key for part in held for key in part.pointless}
            source.restore(part.read for part in held if part.read is not None)
            for key, run in state.runs.items():
                _take_over(run, state.known.pop(key))
        if any(run.state in (RunState.RUNNING, RunState.STALLED) for run in state.known.values()):
            source.expect(path)
        found.append(Root(path, source, state))
    return found


def _with_checkpoint(said: Transition, state: State, saved: Mapping[str, str]) -> Transition:
    """Name the checkpoint to go back to in an alert that begins to fire."""
    alert, path = said.alert, saved.get(said.alert.fingerprint, "")
    if not path or alert.state is not AlertState.FIRING or said.escalated:
        return said
    run = state.runs.get(alert.slot.run)
    held = run.alerts.get(alert.slot) if run is not None else None
    if run is not None and held is not None and held.fingerprint == alert.fingerprint:
        run.alerts[alert.slot] = replace(held, checkpoint=path)
    return replace(said, alert=replace(alert, checkpoint=path))


def _known(root: str, saved: Saved) -> dict[RunKey, KnownRun]:
    found = {}
    for key, row in saved.runs.items():
        if key.root == root:
            mine = (a for a in saved.alerts.get(key, ()) if a.slot.rule not in ownalerts.IDS)
            found[key] = KnownRun(row.attempt, row.judged, tuple(mine), row.state, row.outcome)
    return found


def _fits(runs: Mapping[RunKey, Watched], known: Mapping[RunKey, KnownRun]) -> bool:
    """Whether a checkpoint is of the same tries of the same runs as the store."""
    return all(key in known and run.attempt == known[key].attempt for key, run in runs.items())


def _take_over(run: Watched, known: KnownRun) -> None:
    """Let the store, which is newer than any checkpoint, say what was judged and found."""
    run.alerts = {alert.slot: alert for alert in known.alerts}
    run.judged = dict(known.judged)
    run.state, run.outcome = known.state, known.outcome


def _row(run: Watched) -> RunRow:
    """Return the run's record; what is said of its end is said while its curves are held."""
    if run.state not in IDLE:
        run.outcome = ""
    elif run.windows:
        run.outcome = when_to_stop(run)
    judged, outcome = dict(run.judged), run.outcome
    return RunRow(run.key, run.state, run.attempt, run.started_at, run.seen_at, judged, outcome)


def _log_ailment(one: Ailment) -> None:
    log.warning(
        "health path=%r state=%r detail=%r skipped_bytes=%d",
        one.path,
        one.health.value,
        one.detail,
        one.skipped_bytes,
    )

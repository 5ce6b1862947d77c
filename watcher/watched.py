"""What is held of one run: its windows, the rules tied to them, its alerts and how it is doing.

A run is the unit of partition: everything here is about one run, and picklable, because it is
what a checkpoint keeps. ``judging.py`` moves it on.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from watcher import alerts as life
from watcher.detectors import RunFacts
from watcher.evaluate import Bound
from watcher.model import (
    LATE,
    Alert,
    AlertState,
    Batch,
    Floats,
    Ints,
    Meaning,
    Role,
    RunKey,
    RunState,
    Slot,
    Transition,
    WallTime,
)
from watcher.roles import Traits
from watcher.series import Window

IDLE = frozenset({RunState.FINISHED, RunState.ENDED, RunState.GONE})
_LR_ENDED = 0.02  # of its peak: a learning rate above it is not at the end of its schedule
_LR_POINTS = 8  # fewer say nothing of a schedule
_LR_BEFORE = 3  # like its last fall: what was left of it, at least, some falls ago
_RECENT = 64  # gaps
_LEAP = 6 * 3600.0  # seconds; a longer gap is a clock that was set, or a run that was put off
_SIBLINGS = 2  # neighbours that ended at the same step
# what a framework writes once, when the training is over (HF Trainer)
_SUMMARY_TAGS = ("train_runtime", "train/train_runtime", "total_flos", "train/total_flos")


@dataclass(frozen=True, slots=True)
class Ended:
    """Neighbours that stopped at ``step``, the last that any reached: for good, and without a sign
    of completion so far.
    """

    step: int = -1
    over: frozenset[RunKey] = frozenset()
    stalled: frozenset[RunKey] = frozenset()

    def beside(self, run: RunKey, step: int) -> tuple[int, int]:
        """Count those of others that stopped at a run's last step: for good, and stalled."""
        if step != self.step:
            return 0, 0
        return len(self.over - {run}), len(self.stalled - {run})


@dataclass(slots=True)
class Pace:
    """How often the run writes, by its own clock. Gaps of a restart are no pauses of the run."""

    last: float = math.nan
    came: float = math.nan  # when the newest bytes did, by our clock
    longest: float = 0.0
    interval: float = math.nan  # median seconds between writes, of the last of them
    recent: list[float] = field(default_factory=list)

    def take(
        self, wall: Floats, step: Ints, came: WallTime, begun: Collection[WallTime] = ()
    ) -> None:
        """Note the seconds between steps: float64[n] and int64[n] in order.

        Where the run's clock stands still, ours has to do. A leap of it is no pause, and neither
        is what lies before the times ``begun``, at which its process may have been started.
        """
        at = wall[np.append(True, step[1:] != step[:-1])]
        gaps = np.diff(at, prepend=self.last) if math.isfinite(self.last) else np.diff(at)
        if self.last == at[-1] == at[0]:
            gaps = np.array([came - self.came])
        self.last, self.came = float(at[-1]), came
        sane = (gaps > 0) & (gaps < _LEAP)
        pauses = gaps[sane & ~np.isin(at[-len(gaps) :], list(begun))] if begun else gaps[sane]
        self.longest = max(self.longest, float(pauses.max(initial=0.0)))
        gaps = gaps[sane]
        if len(gaps):
            self.recent = [*self.recent, *gaps[-_RECENT:].tolist()][-_RECENT:]
            self.interval = statistics.median(self.recent)


@dataclass(slots=True)
class Sign:
    """A tag that a framework writes last, and how far the run was when it came."""

    said: str = ""
    number: int = 0  # of its points: one more is another sign
    at: WallTime = math.nan  # the run's newest point when it came; NaN until that is known
    step: int = 0

    def place(self, wall: WallTime, step: int) -> None:
        """Note how far the run is, unless that is known."""
        if math.isnan(self.at):
            self.at, self.step = wall, step

    def holds(self, wall: WallTime, step: int) -> bool:
        """Whether the run, by now at this point, has not gone on since."""
        return bool(self.said) and not (wall > self.at + LATE and step != self.step)


@dataclass(slots=True)
class Member:
    """One run directory of the run: which try it is at, and its tags as the run knows them."""

    attempt: int
    finished: str = ""  # the sign of completion in its files
    last: bool = False  # and nothing was written after it
    tags: Collection[str] = ()
    ignored: int = 0  # values in its files that gave no point


@dataclass(slots=True)
class Watched:
    """One run and all that is held of it.

    ``counts`` has every tag of the attempt, ``windows`` those that mean something to a rule or a
    chart, ``judged`` how many points of each were judged, so that points read again after a
    restart are not judged twice.
    """

    key: RunKey
    attempt: int = 0
    state: RunState = RunState.RUNNING
    alive: bool = False  # seen to write: only then can it stall under our eyes
    started_at: WallTime = math.nan
    seen_at: WallTime = -math.inf
    members: dict[str, Member] = field(default_factory=dict)  # by run directory
    away: dict[str, tuple[str, ...]] = field(default_factory=dict)  # gone, and the tags it had
    counts: dict[str, int] = field(default_factory=dict)
    assigned: dict[str, Meaning] = field(default_factory=dict)
    traits: Traits = field(default_factory=Traits)
    windows: dict[str, Window] = field(default_factory=dict)
    bounds: list[Bound] = field(default_factory=list)
    alerts: dict[Slot, Alert] = field(default_factory=dict)
    judged: dict[str, int] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)
    last_step: int = 0
    points: int = 0
    concluded: str = ""  # what its learning rate says of its completion, as of the newest point
    summary: Sign = field(default_factory=Sign)  # what a framework's last words do
    plan_version: int = -1  # of the plan its rules were tied by
    released: bool = False  # its curves were given up until it writes again
    outcome: str = ""  # once it is over: when it should have stopped
    gone_at: WallTime = math.inf  # when its directory was found to be removed

    def __getstate__(self) -> dict[str, object]:
        """Leave out how the rules were tied: they are code and config, and tied anew."""
        kept = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return kept | {"bounds": [], "plan_version": -1}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Take what ``__getstate__`` kept; a field that came later has its default."""
        fresh = Watched(state["key"])  # type: ignore[arg-type]
        for f in dataclasses.fields(self):
            setattr(self, f.name, state.get(f.name, getattr(fresh, f.name)))

    # ---------------------------------------------------------------- what is known

    def facts(self, siblings: Ended | None = None) -> RunFacts:
        """Sum up the run for detectors. ``siblings``: neighbours that stopped.

        Without it only the run's own points count, so that a verdict on a curve does not depend
        on its neighbours.
        """
        return RunFacts(
            started_at=self.started_at,
            seen_at=self.seen_at,
            interval=self.pace.interval,
            longest_pause=self.pace.longest,
            last_step=self.last_step,
            points=self.points,
            finished="" if siblings is None else self.completion(siblings),
            alike=sum(siblings.beside(self.key, self.last_step)) if siblings else 0,
            adversarial=self.traits.adversarial,
            reinforcement=self.traits.reinforcement,
            parts=self.traits.parts,
        )

    @property
    def finished(self) -> str:
        """The sign of completion in its files, "" if there is none."""
        return next((m.finished for m in self.members.values() if m.finished), "")

    @property
    def surely_finished(self) -> bool:
        """Whether all its directories say so, and nothing was written after it."""
        return bool(self.members) and all(m.finished and m.last for m in self.members.values())

    def completion(self, siblings: Ended) -> str:
        """Say why the run counts as complete, "" if nothing says so.

        A sign in its files; a tag that a framework writes at the very end; a learning rate that
        came down to the end of its schedule; neighbours that ended at the same step.
        """
        if said := self.finished or self.concluded:
            return said
        if self.summary.holds(self.pace.last, self.last_step):
            return self.summary.said
        if siblings.beside(self.key, self.last_step)[0] >= _SIBLINGS:
            return f"its neighbours ended at step {self.last_step} as well"
        return ""

    def conclude(self) -> None:
        """Note what the points up to now say of the run's completion, and how far they go."""
        ended = next((tag for tag in _SUMMARY_TAGS if tag in self.counts), None)
        if ended and self.summary.number != self.counts[ended]:
            self.summary = Sign(f"{ended} was written", self.counts[ended])
        self.summary.place(self.pace.last, self.last_step)
        self.concluded = ""
        for tag, meaning in self.assigned.items():
            window = self.windows.get(tag)  # none if a new one of its points is yet to come
            if meaning.role is Role.LEARNING_RATE and window and _schedule_ended(window):
                self.concluded = f"{tag} is at the end of its schedule"

    def clock_set(self, step: float) -> None:
        """Carry over how long it has been silent: that is no matter of wall time."""
        self.seen_at += step
        self.pace.came += step

    @property
    def firing(self) -> list[Alert]:
        """Alerts that fire, of any attempt."""
        return [a for a in self.alerts.values() if a.state is AlertState.FIRING]

    @property
    def judged_series(self) -> bool:
        """Whether any rule looks at a series of it; else only its silence would be told."""
        return any(bound.subject.tags for bound in self.bounds)

    # ---------------------------------------------------------------- when it is long over

    def release(self) -> None:
        """Give up the curves of a run that is over: it stays as the store knows it."""
        for held in (self.counts, self.assigned, self.windows, self.bounds):
            held.clear()
        for member in self.members.values():
            member.tags = tuple(member.tags)  # takes a fifth of a set's memory
        self.pace.recent = []
        self.pace.last, self.traits = math.nan, Traits()
        self.points, self.plan_version, self.released = 0, -1, True

    def wake(self) -> None:
        """Make ready for the whole history, which is judged from where it was given up."""
        self.members.clear()
        self.released = False

    # ---------------------------------------------------------------- new tries and resumes

    def open_batch(self, prefix: str, batch: Batch, now: WallTime) -> list[Transition]:
        """Make room for a batch: a new try of the run, or one directory's history sent again.

        The first batch of a directory changes nothing that is held: after a restart it is the
        history of what the store already knows.
        """
        said: list[Transition] = []
        member = self.members.get(batch.run.run)
        if member is None:
            if batch.run.run in self.away:
                self._come_back(prefix, batch)
            member = self.members[batch.run.run] = Member(batch.attempt)
            if batch.attempt > self.attempt:
                said += self._start_over(batch.attempt, now)
        else:
            newer, member.attempt = batch.attempt > member.attempt, batch.attempt
            if batch.attempt > self.attempt:
                said += self._start_over(batch.attempt, now)
            elif batch.fresh or newer:
                self._forget(member, prefix, batch)
            if batch.superseded_from is not None:
                said += self._supersede(batch.superseded_from, now)
        member.ignored = batch.signs.ignored
        member.tags = {*member.tags, *(prefix + tag for tag in batch.points.tags)}
        self.seen_at = max(self.seen_at, batch.seen_at)
        member.finished, member.last = batch.signs.finished, batch.signs.last
        if self.state in IDLE and len(batch.points):
            self.state = RunState.RUNNING
        return said

    def _start_over(self, attempt: int, now: WallTime) -> list[Transition]:
        earlier = [a for a in self.alerts.values() if a.open and a.attempt < attempt]
        said = self.close_all(earlier, AlertState.ENDED, now)
        self.attempt = attempt
        self.alerts = {slot: a for slot, a in self.alerts.items() if slot.attempt == attempt}
        for held in (self.counts, self.assigned, self.windows, self.judged, self.bounds):
            held.clear()
        self.summary, self.pace = Sign(), Pace()
        self.started_at = math.nan
        self.points = 0
        self.plan_version = -1
        return said

    def _forget(self, member: Member, prefix: str, batch: Batch) -> None:
        """Drop a directory's windows: its history is sent again, ``retained`` points of it old."""
        old = batch.points.tag[: batch.retained]
        kept = np.bincount(old, minlength=len(batch.points.tags)).tolist()
        judged = {prefix + tag: n for tag, n in zip(batch.points.tags, kept, strict=True)}
        for tag in member.tags:
            self.points -= self.counts.pop(tag, 0)
            self.windows.pop(tag, None)
            self.judged[tag] = min(self.judged.get(tag, 0), judged.get(tag, 0))
        member.tags = ()
        self.bounds.clear()
        self.plan_version = -1

    def leave(self, directory: str) -> None:
        """Drop what a directory that is gone had brought: if it is back, it brings all of it
        again, and what was judged is not judged again.
        """
        member = self.members.pop(directory, None)
        if member is None:
            return
        for tag in member.tags:
            self.points -= self.counts.pop(tag, 0)
            self.windows.pop(tag, None)
        self.away[directory] = tuple(member.tags)
        self.bounds.clear()
        self.plan_version = -1

    def _come_back(self, prefix: str, batch: Batch) -> None:
        """Judge a directory that was away anew, if it brings less than it had: it is another."""
        away = self.away.pop(batch.run.run, ())
        brings = np.bincount(batch.points.tag, minlength=len(batch.points.tags)).tolist()
        now = {prefix + tag: n for tag, n in zip(batch.points.tags, brings, strict=True)}
        if any(now.get(tag, 0) < self.judged.get(tag, 0) for tag in away):
            for tag in away:
                self.judged.pop(tag, None)

    def _supersede(self, step: int, now: WallTime) -> list[Transition]:
        """Close what was found at steps that a resume took back."""
        taken = [a for a in self.alerts.values() if a.open and (a.onset_step or 0) >= step]
        return self.close_all(taken, AlertState.SUPERSEDED, now)

    @property
    def rereading(self) -> bool:
        """Whether points that were judged before a restart are still to be read again."""
        away = {tag for tags in self.away.values() for tag in tags}
        return any(self.counts.get(t, 0) < n for t, n in self.judged.items() if t not in away)

    def close(self, state: AlertState, now: WallTime) -> list[Transition]:
        """Close every open alert because the run, or this try of it, is over."""
        return self.close_all([a for a in self.alerts.values() if a.open], state, now)

    def close_all(self, alerts: list[Alert], state: AlertState, now: WallTime) -> list[Transition]:
        """Close the given open alerts; those that nobody has heard of just go."""
        said = []
        for alert in alerts:
            if alert.state is AlertState.PENDING:
                del self.alerts[alert.slot]
                continue
            closed, transition = life.close(alert, state, now, self.last_step)
            self.alerts[alert.slot] = closed
            said.append(transition)
        return said


def _schedule_ended(rate: Window) -> bool:
    """Whether a learning rate comes down to zero: one fall like its last would bring it there.

    The last stage of a step schedule is as low, and lasts; its falls, and those of an exponential
    decay, are the same part of what is left each time. Those of a schedule with an end grow.
    """
    peak = rate.extremes
    if len(rate) < _LR_POINTS or not 0 <= rate.last_value <= _LR_ENDED * peak.high:
        return False
    value = rate.value
    level = value[np.append(True, value[1:] != value[:-1])][-_LR_POINTS - 1 :]
    fall = level[:-1] - level[1:]
    if not (len(fall) > 1 and (fall > 0).all()):
        return False
    left = level[1:] / fall
    return bool(left[-1] <= 1 and left.max() >= _LR_BEFORE)

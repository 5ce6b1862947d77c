"""When is a curve judged, and what follows? Moves one run on: by what was read, and by time.

When a curve is judged is fixed by the data: points are cut at each series' checkpoints and at the
points that detectors of events mark, and a rule sees its windows extended exactly to the cut. So
it does not matter how the points were split over polls, and a replay says what the service said.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from watcher import alerts as life
from watcher import evaluate, roles
from watcher.detectors import RunFacts
from watcher.evaluate import Bound, Subject
from watcher.model import (
    UNKNOWN,
    Alert,
    AlertState,
    Batch,
    Better,
    Columns,
    Floats,
    Rule,
    RunKey,
    RunState,
    Severity,
    Slot,
    Status,
    Transition,
    Verdict,
    WallTime,
    no_points,
)
from watcher.precedence import OWN_WORDS, alike, silenced
from watcher.series import Window, judged_at
from watcher.watched import IDLE, Ended, Watched

_YEAR_2100 = 4_102_444_800.0
ONE_BY_ONE = 50  # tags of a run, from which on rules are tied to several new ones at once
OLD = 3600.0  # seconds of silence at first sight after which a run counts as over
QUIET = 300.0  # seconds without bytes before an inferred completion is believed
_OUT_OF_FORCE = "its rule is no longer in force; it last said: "
_ELSEWHERE = "its rule looks at another series now; it last said: "


class RunPlan(Protocol):
    """The part of the plan that a run needs."""

    @property
    def version(self) -> int:
        """Differs whenever the rules or the roles' pins differ."""

    @property
    def pins(self) -> Sequence[roles.Pin]:
        """The team's own meanings of tags."""

    @property
    def ended_after(self) -> float:
        """Seconds of silence after which a run without a sign of completion has ended.

        One that writes seldom, or was seen to pause for long, has twice the time after which it
        counts as stalled.
        """

    @property
    def refused_teams(self) -> Collection[str]:
        """Teams whose rules cannot be read at the moment."""

    def rules_for(self, run: RunKey) -> Sequence[Rule]:
        """Return the rules that may look at ``run``."""

    def labels_for(self, run: RunKey) -> Mapping[str, str]:
        """Return the run's labels, from its path."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Where the clock stands while points are taken in.

    ``judge_from``: points recorded before it are history and get one look, at their end.
    ``recorded``: the clock runs along the points' own wall times (a replay); else it is ``now``.
    """

    now: WallTime
    judge_from: WallTime = -math.inf
    recorded: bool = False


# -------------------------------------------------------------------------------- points


def absorb(
    run: Watched, batches: Sequence[tuple[str, Batch]], plan: RunPlan, moment: Moment
) -> list[Transition]:
    """Take one batch each of some of the run's directories, given with their tag prefixes.

    1. Make room: new tries and resumes drop what they take back.
    2. Merge the points of all directories by wall time, each directory's order kept.
    3. Cut where a tag is first seen, tie the rules to the tags known so far, judge part by part.
    """
    said: list[Transition] = []
    for prefix, batch in batches:
        said += run.open_batch(prefix, batch, moment.now)
    points = merge([(prefix, b.points) for prefix, b in batches])
    if len(points) == 0:
        return said
    if math.isnan(run.started_at):
        run.started_at = float(points.wall_time[0])
    _pace(run, batches, points)
    for part in _split_at_new_tags(run, points):
        new = _count(run, part)
        if run.plan_version != plan.version:
            said += _reload(run, plan, moment.now)
        elif new:
            said += tie(run, plan, moment.now)
        said += _judge_part(run, part, plan, moment)
    run.last_step = int(points.step[-1])
    run.conclude()
    for tag, window in run.windows.items():
        run.judged[tag] = max(run.judged.get(tag, 0), window.count)
    return said + _drop_untied(run, plan, moment.now)


def _pace(run: Watched, batches: Sequence[tuple[str, Batch]], points: Columns) -> None:
    """Note how often the run writes: ``points`` of these batches, but for those sent before."""
    if any(batch.retained for _, batch in batches):
        points = merge([(p, b.points.take(slice(b.retained, None))) for p, b in batches])
    if len(points):
        begun = [wall for _, batch in batches for wall in batch.begun]
        run.pace.take(points.wall_time, points.step, run.seen_at, begun)


def merge(parts: Sequence[tuple[str, Columns]]) -> Columns:
    """Put several directories' points in one order: by wall time, never against their own order.

    ``wall_time`` of the result is usable as a clock: it never falls within a directory, and a
    time that cannot be true (NaN, before 1970, after 2100) reads as the one before it.
    """
    tags: list[str] = []
    columns: list[tuple[npt.NDArray[Any], ...]] = []
    for prefix, points in parts:
        if len(points):
            wall = _as_clock(points.wall_time)
            columns.append((points.tag + len(tags), points.step, wall, points.value))
            tags += [prefix + tag for tag in points.tags]
    if not columns:
        return no_points()
    tag, step, wall, value = (np.concatenate(c) for c in zip(*columns, strict=True))
    merged = Columns(tuple(tags), tag, step, wall, value)
    return merged if len(columns) == 1 else merged.take(np.argsort(wall, kind="stable"))


def _as_clock(wall: Floats) -> Floats:
    sane = (wall >= 0) & (wall < _YEAR_2100)
    if not sane.all():
        first = wall[sane][0] if sane.any() else 0.0
        wall = np.where(sane, wall, -np.inf)
        wall[0] = max(wall[0], first)
    return np.maximum.accumulate(wall)


def _split_at_new_tags(run: Watched, points: Columns) -> Iterator[Columns]:
    """Cut before the first point of each tag the run has not seen, so that rules are tied anew.

    That takes longer the more tags there are: of a run with many, new tags in a row are one cut.
    """
    present, first = np.unique(points.tag, return_index=True)
    cuts = sorted(
        int(at) for t, at in zip(present, first, strict=True) if points.tags[t] not in run.counts
    )
    known = len(run.counts)
    kept = [
        at for i, at in enumerate(cuts) if known + i < ONE_BY_ONE or i == 0 or at > cuts[i - 1] + 1
    ]
    edges = [0, *kept, len(points)]
    for start, stop in itertools.pairwise(edges):
        if stop > start:
            yield points.take(slice(start, stop))


def _count(run: Watched, points: Columns) -> bool:
    """Count the points of each tag; True if there is a tag that was not there before."""
    number = np.bincount(points.tag, minlength=len(points.tags)).tolist()
    new = False
    for tag, n in zip(points.tags, number, strict=True):
        if n:
            new |= tag not in run.counts
            run.counts[tag] = run.counts.get(tag, 0) + n
            run.points += n
    return new


def tie(run: Watched, plan: RunPlan, now: WallTime) -> list[Transition]:
    """Give the run's tags their meaning, and tie the rules to the series there are."""
    run.plan_version = plan.version
    run.traits = roles.traits(run.counts, plan.pins)
    run.assigned = roles.assign(run.counts, plan.pins)
    found = evaluate.subjects(plan.rules_for(run.key), run.assigned, run.counts)
    for tag in set(run.assigned).union(*(s.tags.values() for s in found)):
        run.windows.setdefault(tag, Window())
    before = {(b.subject.rule.id, b.subject.name, *b.subject.tags.items()): b for b in run.bounds}
    run.bounds = [_bind(run, s, before.get((s.rule.id, s.name, *s.tags.items()))) for s in found]
    return _drop_untied(run, plan, now)


def _reload(run: Watched, plan: RunPlan, now: WallTime) -> list[Transition]:
    """Tie the rules that are in force by now; let new ones and changed ones look at what is there.

    Else a rule would not see what went wrong before it until new points come, if they ever do.
    """
    first = run.plan_version < 0  # of a run that was just met, or restored: nothing is reloaded
    before = {(b.slot, *b.subject.tags.items()): b.subject.rule for b in run.bounds}
    said = tie(run, plan, now)
    if first or run.rereading:
        return said
    facts, labels = run.facts(), plan.labels_for(run.key)
    for bound in run.bounds:
        known = before.get((bound.slot, *bound.subject.tags.items()))
        rule, trigger = bound.subject.rule, bound.windows.get(bound.subject.detector.trigger)
        if not trigger or (known and replace(known, origin=rule.origin) == rule):
            continue  # nothing to look at, or looked at already
        said += _advance(run, bound, _worth_saying(bound, facts, now, _loud(run)), labels, now)
    return said


def _drop_untied(run: Watched, plan: RunPlan, now: WallTime) -> list[Transition]:
    """Close alerts of this try that no rule speaks for any more (a better series, a reload).

    They are ended, not resolved: what they said may hold still. While history is read again (a
    restart), the tags seen so far do not tell which series a rule takes: then only those whose
    rule was taken out of force are.
    """
    if not run.alerts:
        return []
    tied = {bound.slot for bound in run.bounds}
    lost = [
        alert
        for alert in run.alerts.values()
        if alert.open and alert.attempt == run.attempt and alert.slot not in tied
    ]
    if not lost:
        return []
    kept = {rule.id for rule in plan.rules_for(run.key)}
    closed = []
    for alert in lost:
        if alert.team in plan.refused_teams:
            continue  # what its rules are is not known just now
        if alert.slot.rule not in kept:
            closed.append(replace(alert, reason=_OUT_OF_FORCE + alert.reason))
        elif not run.rereading:
            closed.append(replace(alert, reason=_ELSEWHERE + alert.reason))
    return run.close_all(closed, AlertState.ENDED, now)


def _bind(run: Watched, subject: Subject, before: Bound | None) -> Bound:
    if before is not None and before.subject.rule is subject.rule:
        return before
    slot = Slot(subject.rule.id, run.key, run.attempt, subject.name)
    windows = {name: run.windows[tag] for name, tag in subject.tags.items()}
    better = {
        name: run.assigned[tag].better if tag in run.assigned else Better.LOWER
        for name, tag in subject.tags.items()
    }
    return Bound(subject, slot, windows, better)


# -------------------------------------------------------------------------------- judging


class _Cut(NamedTuple):
    """After which point (index into the part) which tag's rules look.

    ``full``: all of them, else those of events. ``idle``: only if one of these has an open alert.
    """

    at: int
    tag: str
    full: bool
    idle: bool


class _Feed:
    """One tag's new points, given to its window as far as the cuts have come."""

    __slots__ = ("_places", "_taken", "at", "step", "value", "wall", "window")

    def __init__(self, window: Window, part: Columns, at: npt.NDArray[np.intp]) -> None:
        self.window, self.at = window, at
        self.step, self.wall, self.value = part.step[at], part.wall_time[at], part.value[at]
        self._places: list[int] = at.tolist()
        self._taken = 0

    def until(self, index: int) -> None:
        """Bring the window up to index ``index`` of the part, inclusive."""
        start = self._taken
        stop = bisect.bisect_right(self._places, index, start)
        if stop > start:
            self.window.extend(
                self.step[start:stop], self.wall[start:stop], self.value[start:stop]
            )
            self._taken = stop


def _judge_part(run: Watched, part: Columns, plan: RunPlan, moment: Moment) -> list[Transition]:
    """Extend the windows cut by cut and let the rules look."""
    feeds = _feeds(run, part)
    by_trigger: dict[str, list[Bound]] = {}
    for bound in run.bounds:
        if not bound.subject.detector.timed and bound.subject.trigger in feeds:
            by_trigger.setdefault(bound.subject.trigger, []).append(bound)
    watchful = {
        tag: [b for b in bounds if b.subject.detector.events is not None]
        for tag, bounds in by_trigger.items()
    }
    needed = {
        tag: [feeds[t] for t in {t for b in bounds for t in b.subject.tags.values()} if t in feeds]
        for tag, bounds in by_trigger.items()
    }
    cuts = sorted(
        cut
        for tag, bounds in by_trigger.items()
        for cut in _cuts(feeds[tag], tag, bounds, run.judged.get(tag, 0), moment)
    )
    facts, labels = run.facts(), plan.labels_for(run.key)
    loud = _loud(run)
    said: list[Transition] = []
    for cut in cuts:
        if cut.idle and not any(_is_open(run, bound.slot) for bound in watchful[cut.tag]):
            continue
        now = float(part.wall_time[cut.at]) if moment.recorded else moment.now
        for feed in needed[cut.tag]:
            feed.until(cut.at)
        for bound in by_trigger[cut.tag] if cut.full else watchful[cut.tag]:
            if loud:  # asked here, as most often nothing is
                verdict = _worth_saying(bound, facts, now, loud)
            else:
                verdict = evaluate.judge(bound, facts, now)
            if not run.alerts and verdict.status is not Status.BREACH:
                bound.verdict = verdict  # nothing was wrong, and nothing is: the common case
                continue
            said += _advance(run, bound, verdict, labels, now)
            if verdict.status is not Status.UNKNOWN:
                loud = _loud(run)
    for feed in feeds.values():
        feed.until(len(part))
    return said


def _feeds(run: Watched, part: Columns) -> dict[str, _Feed]:
    """Return the new points of each tag that has a window, in order."""
    order = np.argsort(part.tag, kind="stable")
    present, starts = np.unique(part.tag[order], return_index=True)
    pieces = np.split(order, starts[1:])
    return {
        part.tags[t]: _Feed(run.windows[part.tags[t]], part, at)
        for t, at in zip(present, pieces, strict=True)
        if part.tags[t] in run.windows
    }


def _cuts(
    feed: _Feed, tag: str, bounds: Sequence[Bound], judged: int, moment: Moment
) -> Iterator[_Cut]:
    """Yield where ``tag``'s rules look: its checkpoints, and the points that events mark.

    Points already judged are passed over. Of history before ``judge_from`` only the newest
    checkpoint is looked at, and only if no later one follows.
    """
    before, n = feed.window.count, len(feed.at)
    marked, idle = _marks(feed, bounds)
    full = np.zeros(n, bool)
    full[[count - before - 1 for count in judged_at(before, before + n)]] = True
    looks = full | marked
    looks[: max(0, judged - before)] = False
    history = feed.wall < moment.judge_from
    if history.any():
        newest = np.flatnonzero(looks & full & history)[-1:]
        looks &= ~history
        if not looks.any():
            looks[newest] = True
    found = np.flatnonzero(looks)
    idle &= ~full
    flags = (feed.at[found].tolist(), full[found].tolist(), idle[found].tolist())
    for at, whole, unless_open in zip(*flags, strict=True):
        yield _Cut(at, tag, whole, unless_open)


def _marks(
    feed: _Feed, bounds: Sequence[Bound]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return the new points that detectors of events mark, and where nothing new can be found."""
    n, window = len(feed.at), feed.window
    marked, new = np.zeros(n, bool), np.zeros(n, bool)
    repeats = window.count > 0 and int(feed.step[0]) == window.last_step
    repeats = repeats or bool((feed.step[1:] == feed.step[:-1]).any())
    for bound in bounds:
        detector, params = bound.subject.detector, bound.subject.rule.params
        if detector.events is None:
            continue
        found = detector.events(window, feed.value, params)
        marked |= found
        if detector.begins is not None and not repeats and found.any():
            found = found & detector.begins(window, feed.value, params)
        new |= found
    return marked, marked & ~new


def _is_open(run: Watched, slot: Slot) -> bool:
    held = run.alerts.get(slot) if run.alerts else None
    return held is not None and held.open


def _loud(run: Watched) -> list[Alert]:
    """Return the alerts of this try that fire and are heard."""
    return [
        alert
        for slot, alert in run.alerts.items()
        if alert.state is AlertState.FIRING and slot.attempt == run.attempt and not alert.shadow
    ]


def _worth_saying(bound: Bound, facts: RunFacts, now: WallTime, loud: Sequence[Alert]) -> Verdict:
    """Judge; UNKNOWN if another finding of the same try makes this one not worth saying.

    A stronger one does, but a hint only for hints; and one that says the same and is no less
    severe: in other words, or about another series, for a NaN in one loss is soon one in all.
    Rules in their author's own words are the same only if they are one rule.
    """
    others = [alert for alert in loud if alert.slot != bound.slot]
    if not others:
        return evaluate.judge(bound, facts, now)
    name = bound.subject.detector.name
    hint = life.loudness(Severity.INFO)
    if silenced(name, (a.detector for a in others if life.loudness(a.severity) > hint)):
        return UNKNOWN
    hinted = [hint] if silenced(name, (alert.detector for alert in others)) else []
    said = hinted + [
        life.loudness(alert.severity)
        for alert in others
        if (
            alert.detector == name
            and (name not in OWN_WORDS or alert.slot.rule == bound.slot.rule)
        )
        or alike(name, alert.detector)
    ]
    held = len(others) < len(loud)  # it fires itself, and may come to its end
    if said and not held and max(said) == life.loudness(Severity.CRITICAL):
        return UNKNOWN
    verdict = evaluate.judge(bound, facts, now)
    worse = verdict.status is Status.BREACH and all(
        life.loudness(life.severity_of(verdict, bound.subject.rule)) > one for one in said
    )
    over = held and verdict.status is Status.OK
    return verdict if worse or over or not said else UNKNOWN


def _onset_at(trigger: Window | None, verdict: Verdict) -> WallTime | None:
    if trigger is None or verdict.status is not Status.BREACH:
        return None
    at = trigger.last_wall if verdict.onset is None else trigger.wall_at(int(verdict.onset))
    return at if math.isfinite(at) else None


def _advance(
    run: Watched, bound: Bound, verdict: Verdict, labels: Mapping[str, str], now: WallTime
) -> tuple[Transition, ...]:
    """Move the alert of one bound rule on, and remember what was said."""
    bound.verdict = verdict
    held = run.alerts.get(bound.slot) if run.alerts else None
    if held is None and verdict.status is not Status.BREACH:
        return ()  # nothing was wrong, and nothing is
    trigger = bound.windows.get(bound.subject.detector.trigger)
    step = trigger.last_step if trigger else run.last_step
    points = trigger.count if trigger else run.points
    look = life.Look(
        rule=bound.subject.rule,
        slot=bound.slot,
        now=now,
        step=step,
        points=points,
        inputs=bound.subject.tags,
        labels=labels,
        onset_at=_onset_at(trigger, verdict) if held is None or not held.fired_at else None,
    )
    alert, said = life.advance(held, verdict, look)
    if alert is None:
        run.alerts.pop(bound.slot, None)
    else:
        run.alerts[bound.slot] = alert
    return said


# -------------------------------------------------------------------------------- time


def look(run: Watched, plan: RunPlan, now: WallTime, siblings: Ended) -> list[Transition]:
    """Judge what time alone decides: rules of the clock, holds, and how the run is doing.

    ``siblings``: the neighbours that stopped where the last did. Call it in ticks that brought
    nothing new as well. A run that was silent already when it was first seen has not stalled: it
    is old, and what was found in it is told as ended.
    """
    if run.state in IDLE:
        return []
    facts, labels = run.facts(siblings), plan.labels_for(run.key)
    silence, usual = now - run.seen_at, 4 * _or0(facts.interval)
    pauses = max(usual, 2 * facts.longest_pause)
    if facts.finished and silence > _quiet(run, usual, pauses):
        run.state = RunState.FINISHED
        for slot, alert in run.alerts.items():
            if alert.open and alert.detector == "stalled":
                why = f"it is complete, {facts.finished}; it was taken for stalled as "
                run.alerts[slot] = replace(alert, reason=why + alert.reason)
        return run.close(AlertState.ENDED, now)
    run.alive |= silence <= max(QUIET, usual)
    if silence > (max(plan.ended_after, 2 * pauses) if run.alive else max(OLD, usual)):
        run.state = RunState.ENDED
        return run.close(AlertState.ENDED, now)
    said = [] if run.plan_version == plan.version else _reload(run, plan, now)
    for bound in run.bounds:
        if bound.subject.detector.timed and run.alive:
            verdict = _worth_saying(bound, facts, now, _loud(run))
            said += _advance(run, bound, verdict, labels, now)
        elif run.alerts and _waits(run.alerts.get(bound.slot), bound.subject.rule):
            said += _advance(run, bound, bound.verdict, labels, now)
    stalled = any(a.detector == "stalled" for a in run.firing)
    run.state = RunState.STALLED if stalled else RunState.RUNNING
    return said


def _quiet(run: Watched, usual: float, pauses: float) -> float:
    """Return the seconds of silence after which what says that the run is complete is believed.

    A sign in all its files is at once, unless something was written after it.
    """
    if run.surely_finished:
        return -math.inf
    return min(QUIET, usual) if run.finished else max(QUIET, pauses)


def _waits(alert: Alert | None, rule: Rule) -> bool:
    """Whether an alert waits for time to pass: its ``for``, or its ``keep_firing_for``.

    One that waits for points or steps is told by those alone, wherever polls cut them.
    """
    if alert is None:
        return False
    if alert.state is AlertState.PENDING:
        return rule.for_.unit == "seconds"
    quiet = alert.state is AlertState.FIRING and alert.ok_at is not None
    return quiet and rule.keep_firing_for.unit == "seconds"


def _or0(seconds: float) -> float:
    return 0.0 if math.isnan(seconds) else seconds


def vanish(run: Watched, now: WallTime) -> list[Transition]:
    """Note that the run's directory was removed."""
    run.state, run.gone_at = RunState.GONE, now
    return run.close(AlertState.ENDED, now)

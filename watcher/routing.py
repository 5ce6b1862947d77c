"""Who hears of it, now? Routes, inhibition, silences, grouping, repeats, the storm limit.

What is owed is found by comparing each alert with what its receivers have heard of it, as
Alertmanager does, not by following events: a tick that is repeated, held back or silenced for a
while loses nothing. "Heard" means queued: a queued notice is delivered, however long it takes.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from watcher.alerts import loudness, team_of
from watcher.globs import all_fit
from watcher.model import (
    REFUSED,
    UNREACHABLE,
    Alert,
    AlertState,
    Notice,
    RunKey,
    Severity,
    Transition,
    WallTime,
)
from watcher.muting import ALWAYS, Hours
from watcher.precedence import SILENCES

STORM = 10  # notices for one receiver in one tick; beyond it nobody reads them one by one
DAY = 86400.0
MOST_DOUBLINGS = 6  # of the repeat interval: about two months at a day

FIRST = "first notification"
LOUDER = "louder"
ENDED = "ended while firing"
SUPERSEDED = "superseded by resume"
RESOLVED = "resolved"
REPEAT = "repeat interval elapsed"
_PRECEDENCE = (FIRST, LOUDER, ENDED, SUPERSEDED, RESOLVED, REPEAT)
_CLOSING = {
    AlertState.RESOLVED: RESOLVED,
    AlertState.ENDED: ENDED,
    AlertState.SUPERSEDED: SUPERSEDED,
}


@dataclass(frozen=True, slots=True)
class Route:
    """Which alerts go to ``receiver``, and how often. All durations are seconds.

    ``match`` maps labels to globs, a leading ``!`` negates; an empty one takes everything. The
    first of ``routes`` that matches takes over from its parent. ``go_on`` lets the siblings after
    this route match as well. ``repeat_interval`` doubles with every repeat. Out of ``hours`` all
    that is owed waits, resolutions too, and is told when they begin, if it is still true.
    """

    receiver: str
    match: Mapping[str, str] = field(default_factory=dict)
    group_by: tuple[str, ...] = ("root", "run")
    group_wait: float = 0.0
    group_interval: float = 300.0
    repeat_interval: float = DAY
    min_severity: Severity = Severity.INFO
    routes: tuple[Route, ...] = ()
    go_on: bool = False
    hours: Hours = ALWAYS


@dataclass(frozen=True, slots=True)
class Silence:
    """Keeps alerts that match all ``matchers`` quiet from ``starts_at`` until ``ends_at``."""

    id: str
    matchers: Mapping[str, str]
    starts_at: WallTime
    ends_at: WallTime
    created_by: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Deed:
    """What somebody did by a button. ``notice`` carries the word of it to the message."""

    notice: Notice
    silences: tuple[Silence, ...] = ()
    acknowledged: tuple[str, ...] = ()  # fingerprints
    by: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a receiver was last told of an alert that it holds to be firing.

    ``over``: whose alert it was (the slot's key), once it was told the end. That is remembered for
    a day, in memory alone, so that what comes and goes is told once an interval.
    """

    severity: Severity
    at: WallTime
    group_key: str
    repeats: int = 0
    over: str = ""


HeardKey = tuple[str, str]  # receiver, fingerprint


@dataclass(slots=True)
class _Group:
    """What one receiver is to be told of one group in this tick."""

    receiver: str
    route: Route | None = None
    news: list[tuple[str, Alert]] = field(default_factory=list)
    firing: list[Alert] = field(default_factory=list)  # known to the receiver and still firing


def queue(
    transitions: Iterable[Transition],
    alerts: Iterable[Alert],
    heard: Mapping[HeardKey, Heard],
    routes: Sequence[Route],
    now: WallTime,
    *,
    silences: Sequence[Silence] = (),
    acknowledged: Container[str] = (),
    storm: int = STORM,
) -> tuple[Notice, ...]:
    """Return the notices owed now. The same arguments give the same notices, ids included.

    What is ``acknowledged`` (by fingerprint) is not repeated; what becomes louder is said.

    1. Take every alert held, and those that ``transitions`` closed and replaced in this tick.
    2. Closings go to whoever heard of the firing. What fired and closed between two looks was
       heard by nobody: it goes where the routes say, as closed.
    3. Firing alerts go where the routes say, unless shadow, silenced or inhibited.
    4. One notice a group; a group that may wait is held back; a storm becomes one digest.
    """
    steps = list(transitions)
    current = {t.alert.fingerprint: t.alert for t in steps}
    began = {t.alert.fingerprint for t in steps if t.alert.state is AlertState.FIRING}
    held = {a.fingerprint: a for a in alerts}  # seen at the next tick as well
    current.update(held)
    told: dict[str, list[tuple[str, Heard]]] = defaultdict(list)
    before: dict[HeardKey, Heard] = {}  # by receiver and slot, what was told of it and is over
    for (receiver, fingerprint), h in heard.items():
        if h.over:
            before[receiver, h.over] = max(h, before.get((receiver, h.over), h), key=_told_at)
        else:
            told[fingerprint].append((receiver, h))
    quiet = _Inhibition(current.values())
    briefs: dict[tuple[str, Severity], Alert] = {}  # of what comes and goes repeatedly the last
    groups: dict[str, _Group] = {}
    for alert in current.values():
        if alert.state in _CLOSING and alert.fingerprint not in told:
            if alert.fingerprint in began and _may_be_told(alert, silences, now):
                briefs[_slot_key(alert), alert.severity] = alert
        elif alert.state in _CLOSING:
            for receiver, h in told[alert.fingerprint]:
                if alert.fingerprint in held and _out_of_hours(alert, receiver, routes, now):
                    continue
                group = groups.setdefault(h.group_key, _Group(receiver))
                group.news.append((_CLOSING[alert.state], alert))
        elif _may_be_told(alert, silences, now) and not quiet(alert):
            _add_firing(groups, alert, heard, routes, now, alert.fingerprint in acknowledged)
    for alert in briefs.values():
        _add_brief(groups, alert, routes, before, now)
    return _digested(_notices(groups, heard, before, now), storm, now)


def remember(
    notices: Iterable[Notice], heard: Mapping[HeardKey, Heard]
) -> dict[HeardKey, Heard | None]:
    """Return what changes in ``heard`` by queueing ``notices``; None: it may be forgotten."""
    changes: dict[HeardKey, Heard | None] = {}
    newest = 0.0
    for notice in notices:
        at = notice.queued_at
        newest = max(newest, at)
        for alert in notice.alerts:
            key = (notice.receiver, alert.fingerprint)
            known = _firing(heard.get(key))
            if not alert.open:
                began = known.at if known else at  # the end itself may not be sent
                over = _slot_key(alert)
                changes[key] = Heard(alert.severity, began, notice.group_key, over=over)
                continue
            again = known is not None and known.severity is alert.severity
            repeats = known.repeats + 1 if known and again else 0
            group_key = known.group_key if known else notice.group_key
            changes[key] = Heard(alert.severity, at, group_key, repeats)
    if changes:  # in most ticks there are none
        old = (key for key, h in heard.items() if h.over and h.at < newest - DAY)
        changes = dict.fromkeys(old) | changes
    return changes


def update(heard: dict[HeardKey, Heard], changes: Mapping[HeardKey, Heard | None]) -> None:
    """Carry out what ``remember`` said, once it is committed."""
    for key, what in changes.items():
        if what is None:
            heard.pop(key, None)
        else:
            heard[key] = what


def without_resolved(notices: Iterable[Notice], receivers: Collection[str]) -> tuple[Notice, ...]:
    """Return ``notices`` less what ``receivers`` do not want to hear: that something is resolved.

    For what is queued only. ``remember`` takes the notices as they were, or an alert that came
    back would pass for one that never went away.
    """
    out = []
    for notice in notices:
        if notice.receiver in receivers:
            kept = tuple(a for a in notice.alerts if a.state is not AlertState.RESOLVED)
            notice = replace(notice, alerts=kept)
        if notice.alerts:
            out.append(notice)
    return tuple(out)


# What every alert can be matched by, beside the labels of its run and its rule.
OWN_LABELS = frozenset(
    {"root", "run", "attempt", "subject", "alert", "detector", "team", "rule_team", "severity"}
)


def labels(alert: Alert) -> dict[str, str]:
    """Return what routes and silences match on: the alert's labels, and what it is about."""
    slot = alert.slot
    return {
        **alert.labels,
        "root": slot.run.root,
        "run": slot.run.run,
        "attempt": str(slot.attempt),
        "subject": slot.subject,
        "alert": alert.alert,
        "detector": alert.detector,
        "team": team_of(alert),
        "rule_team": alert.team,
        "severity": alert.severity.value,
    }


def silenced(alert: Alert, silences: Iterable[Silence], now: WallTime) -> Silence | None:
    """Return the silence that keeps ``alert`` quiet at ``now``, None if none does."""
    for silence in silences:
        if silence.starts_at <= now < silence.ends_at and all_fit(labels(alert), silence.matchers):
            return silence
    return None


def _taken(
    found: Mapping[str, str], severity: Severity, routes: Sequence[Route]
) -> Iterator[Route]:
    """Yield the routes that take an alert: depth first, the first match unless it goes on."""
    for route in routes:
        if not all_fit(found, route.match):
            continue
        deeper = list(_taken(found, severity, route.routes))
        if deeper:
            yield from deeper
        elif loudness(severity) >= loudness(route.min_severity):
            yield route
        if not route.go_on:
            return


def _slot_key(alert: Alert) -> str:
    return _digest([asdict(alert.slot)])


def _told_at(heard: Heard) -> WallTime:
    return heard.at


def _came_back(
    alert: Alert, route: Route, before: Mapping[HeardKey, Heard], now: WallTime
) -> bool:
    """Whether the same was told within the interval, as loud, and went away since."""
    if not before:
        return False
    h = before.get((route.receiver, _slot_key(alert)))
    if h is None or loudness(alert.severity) > loudness(h.severity):
        return False
    return now - route.group_interval < h.at <= now


def _firing(known: Heard | None) -> Heard | None:
    """Return what a receiver knows of an alert, None once it was told the end."""
    return None if known is None or known.over else known


def _may_be_told(alert: Alert, silences: Sequence[Silence], now: WallTime) -> bool:
    if alert.state is AlertState.PENDING or alert.shadow:
        return False
    return silenced(alert, silences, now) is None


class _Inhibition:
    """Answers whether an alert is inhibited by one of those that are firing.

    A hint inhibits hints alone.
    """

    def __init__(self, alerts: Iterable[Alert]) -> None:
        self._targets: dict[tuple[RunKey, int], dict[str, int]] = defaultdict(dict)
        self._roots: set[str] = set()
        for alert in alerts:
            if alert.state is not AlertState.FIRING or alert.shadow:
                continue
            if alert.detector == UNREACHABLE:
                self._roots.add(alert.slot.run.root)
            elif alert.detector in SILENCES:
                quiet, loud = self._targets[_try(alert)], loudness(alert.severity)
                for name in SILENCES[alert.detector]:
                    quiet[name] = max(loud, quiet.get(name, loud))

    def __call__(self, alert: Alert) -> bool:
        if alert.detector in (UNREACHABLE, REFUSED):
            return False  # of the watcher itself
        if alert.slot.run.root in self._roots:
            return True
        by = self._targets.get(_try(alert), {}).get(alert.detector)
        hint = loudness(Severity.INFO)
        return by is not None and (by > hint or loudness(alert.severity) == hint)


def _try(alert: Alert) -> tuple[RunKey, int]:
    return alert.slot.run, alert.slot.attempt


def _add_firing(
    groups: dict[str, _Group],
    alert: Alert,
    heard: Mapping[HeardKey, Heard],
    routes: Sequence[Route],
    now: WallTime,
    acknowledged: bool,
) -> None:
    """Put a firing alert into the group of each receiver, as news if it is any."""
    found = labels(alert)
    for route in _one_each(_taken(found, alert.severity, routes)):
        known = _firing(heard.get((route.receiver, alert.fingerprint)))
        key = known.group_key if known else _group_key(route, found)
        group = groups.setdefault(key, _Group(route.receiver))
        group.route = group.route or route
        if route.hours.quiet(now):
            continue
        if known is None:
            group.news.append((FIRST, alert))
            continue
        group.firing.append(alert)
        if loudness(alert.severity) > loudness(known.severity):
            group.news.append((LOUDER, alert))
        elif now >= _repeat_at(known, route) and not acknowledged:
            group.news.append((REPEAT, alert))


def _out_of_hours(alert: Alert, receiver: str, routes: Sequence[Route], now: WallTime) -> bool:
    """Whether the route by which ``receiver`` hears of ``alert`` is quiet now."""
    taken = _one_each(_taken(labels(alert), alert.severity, routes))
    return any(route.receiver == receiver and route.hours.quiet(now) for route in taken)


def _add_brief(
    groups: dict[str, _Group],
    alert: Alert,
    routes: Sequence[Route],
    before: Mapping[HeardKey, Heard],
    now: WallTime,
) -> None:
    """Put an alert that began and closed between two looks into its receivers' groups.

    What came and went out of hours is over by the time anybody looks; what does so again and again
    is told once an interval.
    """
    found = labels(alert)
    for route in _one_each(_taken(found, alert.severity, routes)):
        if route.hours.quiet(now) or _came_back(alert, route, before, now):
            continue
        group = groups.setdefault(_group_key(route, found), _Group(route.receiver))
        group.news.append((_CLOSING[alert.state], alert))


def _one_each(routes: Iterable[Route]) -> Iterable[Route]:
    """Keep the first route of each receiver: nobody is told twice."""
    first: dict[str, Route] = {}
    for route in routes:
        first.setdefault(route.receiver, route)
    return first.values()


def _repeat_at(known: Heard, route: Route) -> WallTime:
    doublings = min(known.repeats, MOST_DOUBLINGS)
    return known.at + route.repeat_interval * (1 << doublings)


def _group_key(route: Route, found: Mapping[str, str]) -> str:
    return json.dumps([route.receiver, *(found.get(name, "") for name in route.group_by)])


def _notices(
    groups: Mapping[str, _Group],
    heard: Mapping[HeardKey, Heard],
    before: Mapping[HeardKey, Heard],
    now: WallTime,
) -> Iterator[Notice]:
    for key, group in groups.items():
        if not group.news or _held_back(group, heard, before, now):
            continue
        reasons = {reason for reason, _ in group.news}
        reason = min(reasons, key=_PRECEDENCE.index)
        told = {alert.fingerprint: alert for _, alert in group.news}
        if REPEAT in reasons:  # one reminder of all that is still wrong with the run
            told.update((a.fingerprint, a) for a in group.firing)
        alerts = tuple(sorted(told.values(), key=loudest_first))
        rounds = [_firing(heard.get((group.receiver, a.fingerprint))) for a in alerts]
        seed = [
            [a.fingerprint, a.state, a.severity, a.fired_at, h.repeats if h else None]
            for a, h in zip(alerts, rounds, strict=True)
        ]
        yield Notice(_digest([key, reason, seed]), group.receiver, key, alerts, reason, now)


def _held_back(
    group: _Group,
    heard: Mapping[HeardKey, Heard],
    before: Mapping[HeardKey, Heard],
    now: WallTime,
) -> bool:
    """Whether new alerts wait for company. Closings, and whatever is louder, never wait.

    So does a group of nothing but what was told within the interval and has come back.
    """
    route = group.route
    if route is None or any(reason is not FIRST for reason, _ in group.news):
        return False
    new = [alert for _, alert in group.news]
    known = [heard[group.receiver, alert.fingerprint] for alert in group.firing]
    if not known and all(_came_back(alert, route, before, now) for alert in new):
        return True
    if not known:
        first = min(a.fired_at or 0.0 for a in new)
        return now < min(first, now) + route.group_wait  # a clock may have been set back
    loudest = max(loudness(h.severity) for h in known)
    if any(loudness(a.severity) > loudest for a in new):
        return False
    return now < max(h.at for h in known) + route.group_interval


def _digested(notices: Iterable[Notice], storm: int, now: WallTime) -> tuple[Notice, ...]:
    """Put more than ``storm`` notices for one receiver into one, which is its own group."""
    by_receiver: dict[str, list[Notice]] = defaultdict(list)
    for notice in notices:
        by_receiver[notice.receiver].append(notice)
    out: list[Notice] = []
    for receiver, owed in by_receiver.items():
        if len(owed) <= storm:
            out += owed
            continue
        merged = _digest([receiver, sorted(notice.id for notice in owed)])
        alerts = sorted((a for notice in owed for a in notice.alerts), key=loudest_first)
        reason = f"storm: {len(owed)} messages in one"
        key = json.dumps([receiver, "storm", merged])
        out.append(Notice(merged, receiver, key, tuple(alerts), reason, now))
    return tuple(replace(notice, next_attempt_at=now) for notice in out)


def loudest_first(alert: Alert) -> tuple[bool, int, str, str, str]:
    """Sort what fires before what is over, and the loudest first."""
    run = alert.slot.run.run
    return not alert.open, -loudness(alert.severity), run, alert.alert, alert.fingerprint


def _digest(parts: list[object]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

"""What does the service's state look like? Listings out of the database, as text or JSON.

Reads only, but for silences; the service may run meanwhile.
"""

from __future__ import annotations

import json
import logging
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from watcher.clock import SystemClock
from watcher.config import Config, alert_labels, readable_config
from watcher.database import in_use
from watcher.errors import InvalidInput, WatcherError
from watcher.globs import fits
from watcher.model import Alert, AlertState, Notice, RunState, WallTime
from watcher.notify.message import as_json, clean, place, plain
from watcher.ownalerts import IDS, OWN_RULES, ROOT_RULE
from watcher.places import did_you_mean
from watcher.records import Delivery, RunRow
from watcher.routing import Silence, silenced
from watcher.store import Store
from watcher.units import duration

_log = logging.getLogger(__name__)
_RECENT = 20  # closed alerts that are listed as text
_ALIKE = 3  # messages given up for the same cause that are listed
_LATELY = 86400.0  # seconds for which a message that was given up calls for somebody
_FULL = 32 << 20  # bytes: with fewer the database cannot be written for long


def page(what: str, config: Path | None, *, as_json: bool) -> tuple[list[str], int]:
    """Return the lines of ``status``, ``alerts`` or ``runs``, and the exit code."""
    found = _config(config)
    with Store.open(found.state_dir, read_only=True) as store:
        if what == "silences":
            return _silences(store, as_json), 0
        if what == "alerts":
            return _alerts(store, as_json)
        if what == "runs":
            return _runs(store, as_json), 0
        return _status(store, found, as_json)


def writable(config: Path | None) -> Store:
    """Open the service's state to change it; the service may run meanwhile.

    Where there is none it is not made: it would belong to whoever asks, and not to the service.
    """
    return Store.open(_config(config).state_dir, make=False)


def _config(path: Path | None) -> Config:
    return _judged_by(path)[0]


def _judged_by(path: Path | None) -> tuple[Config, bool]:
    """Return the service's config as far as it can be read, and whether that is all of it."""
    if path is None:
        raise WatcherError("name the service's config: -c config.toml")
    config, problems = readable_config(path)
    if problems and not config.state_dir:
        raise InvalidInput(problems)
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        _log.warning("%s%s; going on with what can be read, see watcher check", problems[0], more)
    if not config.state_dir:
        raise WatcherError(f"{path}: no state_dir, so there is no state to look at; set one")
    return config, not problems


def add_silence(
    config: Path | None, matchers: Sequence[str], span: str, by: str, comment: str
) -> str:
    """Add a silence from now on and return a line about it. WatcherError if it is malformed."""
    judged_by, whole = _judged_by(config)
    known, names = _known(judged_by) if whole else (frozenset(), frozenset())
    wanted: dict[str, str] = {}
    for matcher in matchers:
        name, equals, glob = matcher.partition("=")
        if not name or not equals:
            raise WatcherError(f'"{matcher}" is no matcher; write name=glob, as run=vision/*')
        if name in wanted:
            raise WatcherError(f"{name} is named twice; all matchers of a silence must hold")
        if known and name not in known:
            raise WatcherError(f'no alert has the label "{name}"{did_you_mean(name, known)}')
        wanted[name] = glob
    try:
        seconds = duration(span)
    except ValueError as error:
        raise WatcherError(f"--for: {error}") from error
    if seconds <= 0:
        raise WatcherError("--for: must be more than nothing")
    now, glob = SystemClock().now(), wanted.get("alert", "*")
    made = Silence(secrets.token_hex(4), wanted, now, now + seconds, by, comment)
    with Store.open(judged_by.state_dir, make=False) as store:
        held = {alert.alert for alert in store.list_alerts()}  # of rules that are no more, too
        if names and not any(fits(one, glob) for one in names | held):
            raise WatcherError(f'no rule of the name "{glob}"{did_you_mean(glob, names)}')
        store.add_silence(made)
        firing = [a for a in store.list_alerts(AlertState.FIRING) if not a.shadow]
        queued = sum(delivery.queued for delivery in store.counts())
    quiet = sum(silenced(alert, [made], now) is not None for alert in firing)
    said = f"silence {_silence_line(made)}; it matches {quiet} of the {len(firing)} that fire now"
    late = f"; what was queued before is sent all the same, {queued} so far" if queued else ""
    return said + late


def _known(config: Config) -> tuple[frozenset[str], frozenset[str]]:
    """Return the labels and the names that an alert may have; none if a pack cannot be read."""
    try:
        rules = config.load_rules()
    except InvalidInput:
        return frozenset(), frozenset()
    names = frozenset(rule.alert for rule in (*rules, *OWN_RULES))
    return alert_labels(config, rules), names


def _silences(store: Store, wanted_json: bool) -> list[str]:
    now = SystemClock().now()
    held = [s for s in store.list_silences() if s.ends_at > now]
    if wanted_json:
        return [json.dumps([{**asdict(s), "matchers": dict(s.matchers)} for s in held])]
    return [*map(_silence_line, held), f"{len(held)} silence{'s' * (len(held) != 1)}"]


def _silence_line(one: Silence) -> str:
    until = datetime.fromtimestamp(one.ends_at, UTC).isoformat(timespec="seconds")
    what = " ".join(f"{name}={glob}" for name, glob in one.matchers.items())
    by = f", by {one.created_by}" if one.created_by else ""
    return f"{one.id}: {what}, until {until}{by}{f': {one.comment}' if one.comment else ''}"


def _alerts(store: Store, wanted_json: bool) -> tuple[list[str], int]:
    found = [a for a in store.list_alerts() if a.state is not AlertState.PENDING]
    firing = [a for a in found if a.state is AlertState.FIRING]
    code = int(any(not a.shadow for a in firing))
    now, silences = SystemClock().now(), store.list_silences()
    quiet = {a.fingerprint: s.id for a in firing if (s := silenced(a, silences, now))}
    if wanted_json:
        shown = [
            {**as_json(a), "shadow": a.shadow, "silenced_by": quiet.get(a.fingerprint)}
            for a in found
        ]
        return [json.dumps(shown)], code
    closed = [a for a in found if a.state is not AlertState.FIRING][:_RECENT]
    several = len({alert.root for alert in (*firing, *closed)}) > 1
    lines = [_alert_line(a, several, quiet.get(a.fingerprint, "")) for a in (*firing, *closed)]
    muted = f", {len(quiet)} of them silenced" if quiet else ""
    return [*lines, _count(firing) + muted], code


def _alert_line(alert: Alert, several: bool, silence: str) -> str:
    how = "  (shadow: not sent)" if alert.shadow else f"  (silenced by {silence})" * bool(silence)
    return plain(alert, rooted=several) + how


def _count(firing: Sequence[Alert]) -> str:
    shadows = sum(a.shadow for a in firing)
    return f"{len(firing) - shadows} firing{f', {shadows} in shadow' if shadows else ''}"


def _runs(store: Store, wanted_json: bool) -> list[str]:
    rows = sorted(store.list_runs(), key=lambda row: row.run)
    if wanted_json:
        return [json.dumps([_run_json(row) for row in rows])]
    now = SystemClock().now()
    return [*_run_lines(rows, now), f"{len(rows)} runs"]


def _run_json(row: RunRow) -> dict[str, Any]:
    return {
        "root": clean(row.run.root),
        "run": clean(row.run.run),
        "state": row.state.value,
        "attempt": row.attempt,
        "first_seen": row.first_seen,
        "last_seen": row.last_seen,
        "outcome": clean(row.outcome),
    }


def _run_lines(rows: list[RunRow], now: WallTime) -> Iterator[str]:
    several = len({row.run.root for row in rows}) > 1
    for row in rows:
        tries = f", attempt {row.attempt + 1}" if row.attempt else ""
        name = f"{row.run.root}/{row.run.run}" if several else row.run.run
        ago = _ago(now - row.last_seen)
        outcome = f"; {clean(row.outcome)}" if row.outcome else ""
        yield f"{row.state.value:<9} {clean(name)}{tries}, last bytes {ago}{outcome}"


@dataclass(frozen=True, slots=True)
class _Status:
    """How the service is doing, as its state tells.

    ``lost``: unreachable roots, and why. ``refused``: what is told of rules or a config refused.
    """

    running: bool
    tick_at: WallTime | None
    runs: Counter[RunState]
    roots: Counter[str]
    lost: Mapping[str, str]
    refused: Sequence[Alert]
    firing: Sequence[Alert]
    metrics: str
    free: int  # bytes on the state's disk
    deliveries: Sequence[Delivery]
    dead: Sequence[tuple[Notice, str]]


def _status(store: Store, config: Config, wanted_json: bool) -> tuple[list[str], int]:
    """Return the lines, and 1 if something must be done about the watcher itself."""
    saved, firing = store.load(), store.list_alerts(AlertState.FIRING)
    watched = {root.path for root in config.roots}
    own = [a for a in firing if a.slot.rule in IDS and a.root in watched]
    lost = {a.root: a.reason for a in own if a.slot.rule == ROOT_RULE.id}
    roots = Counter(key.root for key in saved.runs)
    for root in lost:
        roots.setdefault(root, 0)
    found = _Status(
        running=in_use(Path(config.state_dir)),
        tick_at=saved.tick_at,
        runs=Counter(row.state for row in saved.runs.values()),
        roots=roots,
        lost=lost,
        refused=[a for a in own if a.slot.rule != ROOT_RULE.id],
        firing=firing,
        metrics=f"http://{config.listen}/metrics" if config.listen else "",
        free=shutil.disk_usage(config.state_dir).free,
        deliveries=[d for d in store.counts() if d.receiver in config.receivers or d.dead],
        dead=store.list_dead(),
    )
    lines = [json.dumps(_status_json(found))] if wanted_json else list(_status_lines(found))
    now = SystemClock().now()
    unsent = any(d.failures and d.receiver in config.receivers for d in found.deliveries)
    unsent |= any(now - notice.queued_at < _LATELY for notice, _ in found.dead)
    ill = not found.running or found.lost or found.refused or found.free < _FULL or unsent
    return lines, int(bool(ill))


def _status_json(found: _Status) -> dict[str, Any]:
    return {
        "running": found.running,
        "last_tick": found.tick_at,
        "roots": {clean(root): n for root, n in found.roots.items()},
        "unreachable": {clean(root): clean(why) for root, why in found.lost.items()},
        "refused": [{"team": a.team, "why": clean(a.reason)} for a in found.refused],
        "runs": {state.value: found.runs.get(state, 0) for state in RunState},
        "firing": sum(not a.shadow for a in found.firing),
        "metrics": found.metrics,
        "state_bytes_free": found.free,
        "receivers": [
            {
                "name": d.receiver,
                "queued": d.queued,
                "sent": d.sent,
                "dead": d.dead,
                "failures": d.failures,
                "error": d.error,
                "last_sent": d.sent_at,
            }
            for d in found.deliveries
        ],
        "dead_letters": [
            {
                "id": notice.id,
                "receiver": notice.receiver,
                "why": why,
                "alerts": [{"run": clean(a.run), "alert": a.alert} for a in notice.alerts],
            }
            for notice, why in found.dead
        ],
    }


def _status_lines(found: _Status) -> Iterator[str]:
    now = SystemClock().now()
    if not found.running:
        yield "NOT RUNNING: this is what the service left; start it"
    if found.free < _FULL:
        left = f"{found.free / 1e6:.0f} MB free"
        yield f"STATE DISK NEARLY FULL: {left}; make room, soon nothing can be kept"
    yield f"last change seen: {'none yet' if found.tick_at is None else _ago(now - found.tick_at)}"
    for root, n in sorted(found.roots.items()):
        gone = f", UNREACHABLE: {clean(found.lost[root])}" if root in found.lost else ""
        yield f"root {clean(root)}: {n} run{'s' * (n != 1)}{gone}"
    for alert in found.refused:
        whose = f"rules of team {clean(alert.team)}" if alert.team else "config or rules"
        yield f"REFUSED: {whose}: {clean(alert.reason)}"
    yield "runs: " + (", ".join(f"{n} {s.value}" for s, n in found.runs.items()) or "none")
    yield f"alerts: {_count(found.firing)}"
    if found.metrics and found.running:
        yield f"metrics: {found.metrics}"
    for d in found.deliveries:
        trouble = f"; failing {d.failures} times: {d.error}" if d.failures else ""
        last = "" if d.sent_at is None else f", the last {_ago(now - d.sent_at)}"
        counts = f"{d.sent} sent{last}, {d.queued} queued, {d.dead} given up"
        yield f"receiver {d.receiver}: {counts}{trouble}"
    yield from _given_up(found.dead)


def _given_up(dead: Sequence[tuple[Notice, str]]) -> Iterator[str]:
    """Say what was given up, a few of what has the same cause."""
    counts = Counter((notice.receiver, why) for notice, why in dead)
    shown: Counter[tuple[str, str]] = Counter()
    for notice, why in dead:
        cause = notice.receiver, why
        shown[cause] += 1
        if shown[cause] > _ALIKE:
            continue
        at = datetime.fromtimestamp(notice.queued_at, UTC).isoformat(timespec="seconds")
        first, more = notice.alerts[0], len(notice.alerts) - 1
        about = f"{clean(first.alert)} of {place(first)}{f' and {more} more' if more else ''}"
        left = counts[cause] - _ALIKE
        rest = f"; and {left} more like it" if shown[cause] == _ALIKE and left > 0 else ""
        yield f"given up: {notice.receiver}, queued {at}, {about}: {why}{rest}"


def _ago(seconds: float) -> str:
    if seconds < 0:
        return "just now"
    for name, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {name} ago"
    return f"{seconds:.0f} s ago"

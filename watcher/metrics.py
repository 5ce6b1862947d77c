"""What does the operator's monitoring see? The service's state in Prometheus' text format.

Asked for, never pushed: nothing is counted twice, and nothing costs anything until somebody asks.
Labels are of things the operator named (roots, receivers, rules) or of ours (states, severities):
a run or a tag never becomes one, so that ten thousand runs are as many series as one. None is
called job or instance: those are Prometheus' own.
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from watcher import evaluate
from watcher._version import __version__
from watcher.clock import Clock
from watcher.engine import Engine, Root
from watcher.errors import StoreError
from watcher.model import AlertState, Health, RunState, Severity
from watcher.ownalerts import OWN_RULES
from watcher.records import Delivery, printable
from watcher.source import scan
from watcher.store import Store

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
TROUBLES = ("error", "missed", "still running")
JOBS = ("poll", "send", "housekeeping", "checkpoint", "prune", "buttons", "heartbeat")
OUTCOMES = ("sent", "failed", "dead")

Sample = tuple[Sequence[str], float]  # labels' values, value


@dataclass(frozen=True, slots=True)
class Seen:
    """What is looked at. ``trouble``: the scheduler's, by job and kind. ``outcomes``: of each try
    to send, by receiver. ``signs``: the moment of each part's last sign of life, monotonic.
    """

    engine: Engine
    store: Store
    clock: Clock
    trouble: Counter[tuple[str, str]]
    outcomes: Mapping[str, Counter[str]]
    signs: Mapping[str, float]
    ailing: Callable[[], str]
    reloaded: Callable[[], bool]
    restart_due: Callable[[], bool]


def exposition(seen: Seen) -> Callable[[], bytes]:
    """Return what makes the page: each call looks anew, and takes none of the engine's locks."""
    registry = CollectorRegistry()
    registry.register(_Service(seen))
    Process(registry=registry)
    return lambda: generate_latest(registry)


class Process(ProcessCollector):
    """Memory, processor time and open files, also where the sandbox hides /proc/stat."""

    def _boot_time(self) -> float:
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


class _Service(Collector):
    """Turns what is seen into metrics, at the moment it is asked to."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._engine = seen.engine
        self._began = seen.clock.monotonic()

    def describe(self) -> Iterable[Metric]:
        """Name nothing ahead, so that registering does not look already."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Look at everything once."""
        yield from self._whole()
        yield from self._roots()
        yield from self._reading()
        yield from self._judging()
        yield from self._alerts()
        yield from self._delivering()

    def _whole(self) -> Iterator[Metric]:
        seen, now = self._seen, self._seen.clock.monotonic()
        yield _gauge(
            "build_info",
            "What runs: always 1.",
            ("version", "python", "scanner"),
            [((__version__, platform.python_version(), scan.SCANNER), 1)],
        )
        yield _gauge(
            "healthy",
            "1 while every job gives signs of life; a hung mount alone does not make it 0.",
            (),
            [((), not seen.ailing())],
        )
        yield _gauge(
            "config_last_reload_successful",
            "0 while the files of config or rules are refused, and the last good ones in force.",
            (),
            [((), seen.reloaded())],
        )
        yield _gauge(
            "restart_due",
            "1 while a change of the config waits for a restart.",
            (),
            [((), seen.restart_due())],
        )
        yield _gauge(
            "sign_of_life_age_seconds",
            "Time since a part of the service last gave a sign of life.",
            ("part",),
            [((part,), now - at) for part, at in sorted(dict(seen.signs).items())],
        )
        trouble = {(job, kind): 0 for job in JOBS for kind in TROUBLES} | dict(seen.trouble)
        yield _counter(
            "job_troubles_total",
            "Jobs that ended in an error, were missed, or were due while still running.",
            ("task", "kind"),
            [((job, kind.replace(" ", "_")), n) for (job, kind), n in trouble.items()],
        )

    # ---------------------------------------------------------------- roots and runs

    def _of_roots(self, value: Callable[[Root], float]) -> list[Sample]:
        return [((_label(r.path),), value(r)) for r in self._engine.roots.values()]

    def _roots(self) -> Iterator[Metric]:
        now, root = self._seen.clock.monotonic(), ("root",)

        def age(one: Root) -> float:
            at = one.tally.polled_at
            return now - (self._began if at is None else at)

        def under_way(one: Root) -> float:
            since = one.polling_since
            return 0.0 if since is None else now - since

        yield _gauge(
            "root_reachable",
            "1 if the root could be read at the last tick, 0 if it could not, or hangs.",
            root,
            self._of_roots(lambda r: not r.unreachable),
        )
        polls = SummaryMetricFamily(
            "watcher_poll_seconds", "Time that looks at a root took.", labels=root
        )
        for one in self._engine.roots.values():
            polls.add_metric((_label(one.path),), one.tally.polls, one.tally.poll_seconds)
        yield polls
        yield _gauge(
            "last_poll_seconds",
            "Time that the last look at a root took.",
            root,
            self._of_roots(lambda r: r.tally.last_poll_seconds),
        )
        yield _gauge(
            "poll_age_seconds",
            "Time since a look at a root last came back; since the start before the first.",
            root,
            self._of_roots(age),
        )
        yield _gauge(
            "poll_under_way_seconds",
            "Time that the look under way takes so far, 0 between looks.",
            root,
            self._of_roots(under_way),
        )

    def _reading(self) -> Iterator[Metric]:
        states: list[Sample] = []
        series: list[Sample] = []
        ailing: list[Sample] = []
        unjudged: list[Sample] = []
        for one in self._engine.roots.values():
            root, runs = _label(one.path), list(one.state.runs.values())
            in_state = Counter(run.state for run in runs)
            states += [((root, state.value), in_state[state]) for state in RunState]
            series.append(((root,), sum(len(run.windows) for run in runs)))
            sick = Counter(a.health for a in list(one.source.health.values()))
            unseen = [r for r in runs if r.counts and not r.judged_series]
            unjudged.append(((root,), len(unseen)))
            ailing += [((root, h.name.lower()), sick[h]) for h in Health if h is not Health.OK]
        yield _gauge("runs", "Runs by how they are doing.", ("root", "state"), states)
        yield _gauge(
            "runs_unjudged",
            "Runs that go on, or ended of late, of which no rule looks at any series.",
            ("root",),
            unjudged,
        )
        yield _gauge("series", "Series held to be judged or drawn.", ("root",), series)
        yield _gauge(
            "ailing_paths",
            "Files and directories that cannot be read wholly now, by what ails them.",
            ("root", "health"),
            ailing,
        )
        yield _gauge(
            "skipped_bytes",
            "Damaged bytes that were skipped in the files there are now.",
            ("root",),
            self._of_roots(lambda r: r.source.skipped_bytes),
        )
        yield _counter(
            "points_total",
            "Points read since the start.",
            ("root",),
            self._of_roots(lambda r: r.tally.points),
        )

    # ---------------------------------------------------------------- ticks and alerts

    def _judging(self) -> Iterator[Metric]:
        engine, tally = self._engine, self._engine.tally
        yield SummaryMetricFamily(
            "watcher_tick_seconds",
            "Time that ticks took: judging what is new and committing it.",
            count_value=tally.ticks,
            sum_value=tally.tick_seconds,
        )
        yield _gauge(
            "tick_age_seconds",
            "Time since what is new was last judged.",
            (),
            [((), self._seen.clock.monotonic() - engine.ticked_at)],
        )
        yield _counter(
            "uncommitted_ticks_total",
            "Ticks that the state database did not take; each is tried again at the next.",
            (),
            [((), tally.uncommitted)],
        )
        rules = {rule.id: 0 for rule in engine.plan.rules}
        failed = {**rules, **dict(evaluate.failures)}
        yield _counter(
            "detector_failures_total",
            "How often a rule's detector raised, and so answered unknown.",
            ("rule",),
            [((_label(rule),), count) for rule, count in sorted(failed.items())],
        )

    def _alerts(self) -> Iterator[Metric]:
        firing: Counter[tuple[str, bool]] = Counter()
        for root in self._engine.roots.values():
            runs = list(root.state.runs.values())
            held = [a for run in runs for a in list(run.alerts.values())]
            for alert in (*held, *list(root.state.own.values())):
                if alert.state is AlertState.FIRING:
                    firing[alert.severity.value, alert.shadow] += 1
        yield _gauge(
            "alerts_firing",
            "Alerts that fire now. Those of mode shadow are of rules only tried out.",
            ("severity", "mode"),
            [
                ((severity.value, _mode(shadow)), firing[severity.value, shadow])
                for severity in Severity
                for shadow in (False, True)
            ],
        )
        rules = [(r.id, r.mode == "shadow") for r in (*self._engine.plan.rules, *OWN_RULES)]
        steps = {(rule, s.value, shadow): 0 for rule, shadow in rules for s in AlertState}
        steps |= dict(self._engine.tally.transitions)
        yield _counter(
            "alert_transitions_total",
            "Changes of an alert's state, by the state it came to.",
            ("rule", "state", "mode"),
            [((_label(r), s, _mode(shadow)), n) for (r, s, shadow), n in sorted(steps.items())],
        )

    # ---------------------------------------------------------------- receivers

    def _delivering(self) -> Iterator[Metric]:
        tries = {name: dict(counted) for name, counted in self._seen.outcomes.items()}
        yield _counter(
            "deliveries_total",
            "Tries to send since the start: sent, failed (tried again later), dead (given up).",
            ("receiver", "outcome"),
            [((r, o), counted.get(o, 0)) for r, counted in tries.items() for o in OUTCOMES],
        )
        try:
            known = {one.receiver: one for one in self._seen.store.counts()}
            since = self._seen.store.queued_since()
        except StoreError:
            yield _gauge("state_readable", _STATE, (), [((), 0)])
            return
        yield _gauge("state_readable", _STATE, (), [((), 1)])
        rows = [known.get(name, Delivery(name)) for name in sorted({*tries, *known})]
        yield from self._receivers(rows, since)

    def _receivers(self, rows: Sequence[Delivery], since: Mapping[str, float]) -> Iterator[Metric]:
        now = self._seen.clock.now()
        told: tuple[tuple[str, str, Callable[[Delivery], float]], ...] = (
            ("notices_queued", "Notices that wait to be sent.", lambda d: d.queued),
            ("notices_dead", "Notices on record that were given up.", lambda d: d.dead),
            (
                "oldest_queued_notice_age_seconds",
                "Time that the oldest notice has waited to be sent, 0 if none waits.",
                lambda d: max(now - since.get(d.receiver, now), 0.0),
            ),
            ("receiver_failures", "Failures in a row, 0 after a success.", lambda d: d.failures),
            (
                "receiver_paused",
                "1 while nothing is sent because the last try failed.",
                lambda d: d.paused_until > now,
            ),
        )
        for name, text, value in told:
            yield _gauge(name, text, ("receiver",), [((d.receiver,), value(d)) for d in rows])


_STATE = "1 if the state database could be read just now."


def _mode(shadow: bool) -> str:
    return "shadow" if shadow else "live"


def _label(text: str) -> str:
    """Return a label's value that UTF-8 can hold: paths need not."""
    return printable(text)


def _gauge(name: str, text: str, labels: Sequence[str], samples: Iterable[Sample]) -> Metric:
    family = GaugeMetricFamily(f"watcher_{name}", text, labels=labels)
    for values, value in samples:
        family.add_metric(values, float(value))
    return family


def _counter(name: str, text: str, labels: Sequence[str], samples: Iterable[Sample]) -> Metric:
    family = CounterMetricFamily(f"watcher_{name}", text, labels=labels)
    for values, value in samples:
        family.add_metric(values, float(value))
    return family

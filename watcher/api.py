"""What can a program ask? Scans and sessions: the pipeline with a caller's clock."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from watcher import replay
from watcher.model import Ailment, Alert, AlertState, Poll, Role, Rule, WallTime
from watcher.pipeline import Plan, State, tick
from watcher.roles import tag_fits
from watcher.rules import default_rules, load_packs, packs_dir
from watcher.source.logdir import ONE_SHOT, Logdir, SourceOptions, read_once
from watcher.watched import Watched

AnyPath = str | os.PathLike[str]
_WHOLE = replace(
    ONE_SHOT, corrupt_grace=SourceOptions().corrupt_grace
)  # all that is new, each time
Rules = Sequence[Rule | AnyPath]
_CONTEXT = {
    Role.LEARNING_RATE,
    Role.LOSS_WEIGHT,
    Role.GRAD_NORM,
    Role.THROUGHPUT,
    Role.EPOCH,
}


@dataclass(frozen=True, slots=True)
class Survey:
    """What a scan found: alerts that fired, in order of their firing, the runs, the health.

    ``blind``: rules that are for other runs than those that are there; ``tagless``: the tags that
    a rule of the team's own names, and none of the runs has that it may look at.
    """

    alerts: tuple[Alert, ...]
    runs: tuple[Watched, ...]
    ailments: tuple[Ailment, ...]
    unreachable: tuple[str, ...]
    blind: tuple[Rule, ...] = ()
    tagless: tuple[tuple[Rule, Sequence[str]], ...] = ()
    rules: tuple[Rule, ...] = ()

    @property
    def unjudged(self) -> list[Watched]:
        """Runs of which no series has a meaning to a rule: only their silence would be told."""
        return [
            run
            for run in self.runs
            if not run.judged_series and _CONTEXT.issuperset(m.role for m in run.assigned.values())
        ]


def survey(logdirs: Sequence[AnyPath], plan: Plan, now: WallTime | None = None) -> Survey:
    """Replay every run under ``logdirs`` and say what would have fired.

    Without ``now`` each run is judged at its own last event; with it, as if now were then.
    """
    poll = read_once([os.fspath(d) for d in logdirs])
    return survey_of(poll, plan, now)


def survey_of(
    poll: Poll,
    plan: Plan,
    now: WallTime | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Survey:
    """Replay the runs of one poll of everything there is.

    ``progress`` hears how many runs are judged, and how many there are.
    """
    alerts: list[Alert] = []
    runs: list[Watched] = []
    by_run = replay.by_run(poll.batches, plan)
    for number, (_, batches) in enumerate(sorted(by_run.items())):
        progress(number, len(by_run))
        found, state = replay.findings(batches, plan, until=now)
        alerts += [a for a in found if not a.shadow]
        runs += state.runs.values()
    alerts.sort(key=lambda a: (a.root, a.run, a.attempt, a.fired_at or 0.0, a.fingerprint))
    seen: dict[str, set[str]] = {}  # by rule, the tags of the runs it may look at
    for run in runs:
        for rule in plan.rules_for(run.key):
            seen.setdefault(rule.id, set()).update(run.counts)
    blind = [rule for rule in plan.rules if runs and rule.id not in seen]
    absent = [(rule, _absent(rule, seen.get(rule.id))) for rule in plan.rules]
    return Survey(
        tuple(alerts),
        tuple(runs),
        poll.ailments,
        tuple(poll.unreachable),
        tuple(blind),
        tuple((rule, tags) for rule, tags in absent if tags),
        plan.rules,
    )


def _absent(rule: Rule, tags: Collection[str] | None) -> list[str]:
    """Return the tags that a rule names and that are not there; none of a shipped one, which is
    for whoever has them, and none where it looks at no run at all.
    """
    if tags is None or Path(rule.origin).is_relative_to(packs_dir()):
        return []
    named = [one.tag for one in rule.inputs.values() if one.tag]
    return [tag for tag in named if not any(tag_fits(one, tag) for one in tags)]


def scan(logdir: AnyPath, rules: Rules | None = None, now: WallTime | None = None) -> list[Alert]:
    """Return every alert that would have fired for the runs under ``logdir``.

    ``rules``: ``Rule`` values or paths of packs; the shipped packs by default. ``now``: judge as
    if now were then (seconds since the epoch); by default each run is judged at its last event.
    Raises ``LogdirError`` if there is no such directory, ``InvalidInput`` for a bad pack.
    """
    return list(survey([logdir], Plan(_chosen(rules)), now).alerts)


class Session:
    """Follows one log directory with the caller's clock: the live form of ``scan``.

    >>> session = Session("runs")                       # doctest: +SKIP
    >>> while True:                                      # doctest: +SKIP
    ...     for alert in session.tick(time.time()):
    ...         print(alert.run, alert.alert, alert.reason)
    ...     time.sleep(30)
    """

    def __init__(self, logdir: AnyPath, rules: Rules | None = None) -> None:
        self._source = Logdir([os.fspath(logdir)], _WHOLE)
        self._plan = Plan(_chosen(rules))
        self._state = State()

    def tick(self, now: WallTime) -> list[Alert]:
        """Read what is new and return the alerts that fire, or changed, at this tick.

        ``now``: seconds since the epoch, by the caller's clock; it must not go back.
        """
        said = tick(self._state, self._source.poll(now), self._plan, now).transitions
        shown = {a.fingerprint: a for a in self._state.alerts() if a.state is AlertState.FIRING}
        shown |= {t.alert.fingerprint: t.alert for t in said}
        return [a for a in shown.values() if a.state is not AlertState.PENDING and not a.shadow]


def _chosen(rules: Rules | None) -> tuple[Rule, ...]:
    if rules is None:
        return default_rules()
    ready = [r for r in rules if isinstance(r, Rule)]
    paths = [Path(r) for r in rules if not isinstance(r, Rule)]
    return (*ready, *load_packs(paths))

"""A stage on which a test reads like a table: what fires when, and what must arrive when.

Nothing here is make-believe but the clock: the routing, the state database, the outbox and a web
server on the loopback interface are the real ones. Once a second the stage does what the engine
and the outbox's jobs do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from tests.clocks import ManualClock
from tests.notify.examples import an_alert
from tests.notify.fake_webhook import FakeWebhook
from watcher.model import Alert, AlertState, Transition
from watcher.notify.outbox import deliver
from watcher.notify.webhook import Webhook
from watcher.routing import (
    Heard,
    HeardKey,
    Route,
    Silence,
    queue,
    remember,
    update,
    without_resolved,
)
from watcher.store import Changes, Store

START = 1_700_000_000.0  # second 0 of every test
Member = tuple[str, str]  # an alert's name, and its word: critical, resolved, ...


@dataclass
class Collector:
    """What one receiver got: (second, members) of each notice that it acknowledged."""

    hook: FakeWebhook
    clock: ManualClock
    got: list[tuple[float, frozenset[Member]]] = field(default_factory=list)
    tried: int = 0

    def collect(self, acknowledged: int) -> None:
        """Note what arrived since the last look; the first ``acknowledged`` were answered well."""
        bodies = self.hook.bodies[self.tried :]
        self.tried += len(bodies)
        for body in bodies[:acknowledged]:
            members = json.loads(body)["alerts"]
            names = frozenset((a["alert"], a["state"]) for a in members)
            self.got.append((self.clock.now() - START, names))

    def want(self, *rows: tuple[float, float, Iterable[str]]) -> None:
        """Check all that arrived: (from, until, members as "name" or "name resolved")."""
        assert len(self.got) == len(rows), self.got
        for (at, members), (early, late, wanted) in zip(self.got, rows, strict=True):
            assert early <= at <= late, (at, members)
            assert members == {_member(text) for text in wanted}, (at, members)


def _member(text: str) -> Member:
    name, _, state = text.partition(" ")
    return name, state or "firing"


class Stage:
    """One service on one state directory. Use as a context manager; close, then ``run`` on."""

    def __init__(self, tmp: Path, *routes: Route, quiet: Iterable[str] = ()) -> None:
        self.clock = ManualClock(START)
        self.routes = routes
        self.quiet = frozenset(quiet)  # receivers that want no resolutions
        self.alerts: dict[str, Alert] = {}
        self._state_dir = tmp
        self._plans: list[tuple[float, Callable[[], object]]] = []
        self._steps: list[Transition] = []
        self._exits = ExitStack()
        self._hooks: dict[str, tuple[Webhook, Collector]] = {}
        self.start()

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()
        self.store.close()

    def start(self) -> None:
        """Start the service from what its state directory holds."""
        self.store = Store.open(self._state_dir)
        self._heard: dict[HeardKey, Heard] = dict(self.store.load().heard)

    def restart(self) -> None:
        """Kill it and start it again: only what was committed is left."""
        self.store.close()
        self.start()

    def collector(self, receiver: str, timeout: float = 5.0) -> Collector:
        """Serve a receiver by a web server of its own."""
        hook = self._exits.enter_context(FakeWebhook())
        collector = Collector(hook, self.clock)
        self._hooks[receiver] = Webhook(hook.url, timeout=timeout), collector
        return collector

    # ---------------------------------------------------------------- what happens when

    def at(self, second: float, what: Callable[[], object]) -> None:
        """Do something at a second of the test."""
        self._plans.append((START + second, what))

    def fire(self, second: float, *names: str, **more: Any) -> None:
        """Let alerts fire from ``second`` on."""
        for name in names:
            self.at(second, partial(self._fire, name, START + second, more))

    def resolve(self, second: float, *names: str, state: AlertState = AlertState.RESOLVED) -> None:
        """Close alerts at ``second``."""
        for name in names:
            self.at(second, partial(self._close, name, START + second, state))

    def silence(self, second: float, until: float, **matchers: str) -> None:
        """Add a silence that lasts from ``second`` until ``until``."""
        made = Silence(f"s{second}", matchers, START + second, START + until, "ann", "known")
        self.at(second, lambda: self.store.add_silence(made))

    def _fire(self, name: str, now: float, more: dict[str, Any]) -> None:
        alert = an_alert(name, **{"detector": "x", **more}, active_at=now, fired_at=now)
        self.alerts[name] = alert
        self._steps.append(Transition(None, alert, now))

    def _close(self, name: str, now: float, state: AlertState) -> None:
        alert = replace(self.alerts[name], state=state, resolved_at=now)
        self.alerts[name] = alert
        self._steps.append(Transition(AlertState.FIRING, alert, now))

    # ---------------------------------------------------------------- the play

    def run(self, until: float) -> None:
        """Play the seconds up to and including ``until``."""
        while self.clock.now() <= START + until:
            due = [what for at, what in self._plans if at <= self.clock.now()]
            self._plans = [(at, what) for at, what in self._plans if at > self.clock.now()]
            for what in due:
                what()
            self._tick()
            self._deliver()
            self.clock.advance(1.0)

    def _tick(self) -> None:
        now, alerts = self.clock.now(), tuple(self.alerts.values())
        notices = queue(
            self._steps,
            alerts,
            self._heard,
            self.routes,
            now,
            silences=self.store.list_silences(),
        )
        heard = remember(notices, self._heard)
        held: dict[Any, tuple[Alert, ...]] = {}
        for alert in alerts:
            held[alert.slot.run] = (*held.get(alert.slot.run, ()), alert)
        steps = tuple(self._steps)
        if not steps and not notices:
            return
        self.store.commit(Changes(now, held, steps, without_resolved(notices, self.quiet), heard))
        self._steps.clear()
        update(self._heard, heard)

    def _deliver(self) -> None:
        for receiver, (webhook, collector) in self._hooks.items():
            done = deliver(self.store, receiver, webhook, self.clock, Random(1))
            collector.collect(done.sent)

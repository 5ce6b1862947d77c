"""What runs when? Jobs of one scheduler, signals, reload, shutdown: straight-line wiring.

Each root is polled by a job and a thread of its own, so that a hung mount stalls only itself; a
tick follows each poll. Each receiver has a sender of its own. They meet in the database only.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from apscheduler.events import (
    EVENT_JOB_ERROR,
    EVENT_JOB_MAX_INSTANCES,
    EVENT_JOB_MISSED,
    JobExecutionEvent,
)
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from watcher import heap
from watcher.clock import Clock, Steps
from watcher.config import Config, Loaded, load_config
from watcher.engine import Engine
from watcher.errors import InvalidInput, StoreError, WatcherError
from watcher.listener import Listener
from watcher.metrics import CONTENT_TYPE, OUTCOMES, Seen, exposition
from watcher.notify.base import Notifier, SendError, Whispers
from watcher.notify.clicks import Click, click_of, handle
from watcher.notify.outbox import deliver
from watcher.pipeline import Plan
from watcher.records import printable
from watcher.sdnotify import notify, watchdog_seconds
from watcher.store import Store
from watcher.wiring import heartbeat, listeners, notifiers, plan_of, refusing

log = logging.getLogger(__name__)

_CONNECT_EVERY = 15.0  # seconds between looks at the connections that buttons need
_CLICK = 2.5  # seconds that a click may take: after three Slack says that it failed
_SEND_EVERY = 1.0  # seconds between looks at the outbox: a look is one indexed query
_HOUSEKEEPING = 5.0  # seconds between signs of life and looks at the files of config and rules
_LATE = 60.0  # seconds without a sign of life after which systemd is told nothing good
_SENDING = 300.0  # seconds that one message with its picture may take, each answer in time
_MOMENT = 3.0  # seconds that a poll under way is given at shutdown
_LISTEN = 0.3  # seconds between looks at what signals noted
_PRUNE_EVERY = 6 * 3600.0
WITHOUT_SHIPPED = 'the shipped packs are not in force; add "shipped" to rules.packs to keep them'
CHECKPOINT = "windows.checkpoint"
# who gives signs of life, by what a job is called: one each, or the others would hide who hangs
_SIGNS = {"poll": "evaluator of {}", "send": "sender to {}", "housekeeping": "scheduler"}
_FIRST_BEAT = 60.0  # seconds that a start must last: a service that starts for ever is not well


class Service:
    """The running watcher: its engine, its senders, its jobs."""

    def __init__(
        self,
        config: Config,
        config_path: Path | None,
        engine: Engine,
        store: Store,
        clock: Clock,
        random: Random,
    ) -> None:
        self.config = config
        self.engine = engine
        self.stopping = threading.Event()
        self.trouble: Counter[tuple[str, str]] = Counter()  # scheduler events, by job and kind
        # the files of config and rules are those in force
        self.reloaded = not log_refused(engine.plan)
        self.waiting = ""  # what of them waits for a restart
        self._config_path = config_path
        self._store = store
        self._clock = clock
        self._random = random
        self._notifiers = notifiers(config)
        self._listeners = listeners(config, self._notifiers, self._clicked)
        self._heartbeat = heartbeat(config)
        self._begun = config
        self._listener: Listener | None = None
        self._outcomes = {name: Counter[str]() for name in self._notifiers}
        self._clicks = itertools.count()
        self._wake = {name: threading.Event() for name in self._notifiers}
        self._reloading = threading.Lock()
        self._alive: dict[str, float] = {}
        self._unreadable: dict[str, str] = {}  # why an outbox could not be read, by receiver
        self.lost = ""  # why it cannot go on
        self._files = _mtimes(config, config_path)
        # what it has to say is counted and told by _note; skipped runs are usual
        logging.getLogger("apscheduler.executors").setLevel(logging.CRITICAL)
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._scheduler = BackgroundScheduler(
            executors={
                "default": ThreadPoolExecutor(2),
                **{f"root {path}": ThreadPoolExecutor(1) for path in engine.roots},
                **{f"send {name}": ThreadPoolExecutor(1) for name in self._notifiers},
            },
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone="UTC",
        )
        self._scheduler.add_listener(
            self._note, EVENT_JOB_ERROR | EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES
        )

    # ---------------------------------------------------------------- jobs

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the jobs for as long as the context lasts."""
        self._start()
        self._listener = self._listen_for_scrapes()
        try:
            yield
        finally:
            self._stop(self.config.shutdown_timeout)

    def _start(self) -> None:
        # what hangs at its very first call is late like any other
        for job in (
            "housekeeping",
            *(f"poll {path}" for path in self.engine.roots),
            *(f"send {name}" for name in self._notifiers),
        ):
            self._sign(job)
        add = self._scheduler.add_job
        for path in self.engine.roots:
            add(
                self._poll,
                "interval",
                args=[path],
                seconds=self.config.poll_interval,
                executor=f"root {path}",
                next_run_time=None,
                id=f"poll {path}",
            )
        for name, notifier in self._notifiers.items():
            add(
                self._send,
                "interval",
                args=[name, notifier],
                seconds=_SEND_EVERY,
                executor=f"send {name}",
                id=f"send {name}",
            )
        if self._listeners:
            add(
                self._listen,
                "interval",
                seconds=_CONNECT_EVERY,
                next_run_time=_utcnow(self._clock),
                id="buttons",
            )
        if self._heartbeat and self.config.heartbeat:
            every = self.config.heartbeat.every
            add(
                self._beat,
                "interval",
                seconds=every,
                next_run_time=_utcnow(self._clock, min(every, _FIRST_BEAT)),
                id="heartbeat",
            )
        add(self._housekeep, "interval", seconds=_HOUSEKEEPING, id="housekeeping")
        add(self._prune, "interval", seconds=_PRUNE_EVERY, id="prune")
        if self._checkpoint_path:
            add(self._save, "interval", seconds=self.config.checkpoint_every, id="checkpoint")
        self._scheduler.start()
        for path in self.engine.roots:
            self._scheduler.get_job(f"poll {path}").resume()
            self._scheduler.modify_job(f"poll {path}", next_run_time=_utcnow(self._clock))

    def _poll(self, path: str) -> None:
        """Poll one root, again and again while there is more than one poll takes on."""
        source = self.engine.roots[path].source
        behind = True
        while behind and not self.stopping.is_set():
            try:
                if self.engine.poll(path):
                    for wake in self._wake.values():  # the alert does not wait for the next look
                        wake.set()
                behind = source.behind
            except StoreError as error:  # kept in memory; the next tick tries again
                log.error("tick not committed, trying again at the next error=%r", str(error))
                behind = False
            self._sign(f"poll {path}")

    def _sign(self, job: str) -> None:
        """Note a sign of life of what does this job."""
        self._alive[_part(job)] = self._clock.monotonic()

    def _send(self, name: str, notifier: Notifier) -> None:
        self._wake[name].wait(0.8 * _SEND_EVERY)
        self._wake[name].clear()

        def stop() -> bool:  # it is asked before each message
            self._sign(f"send {name}")
            return self.stopping.is_set()

        try:
            done = deliver(
                self._store,
                name,
                notifier,
                self._clock,
                self._random,
                charts=self.engine.chart,
                fallback=self.config.receivers[name].fallback or None,
                stop=stop,
            )
            told = zip(OUTCOMES, (done.sent, done.retried_later, done.dead), strict=True)
            self._outcomes[name].update(dict(told))
            if done.sent or done.retried_later or done.dead:
                log.info(
                    "delivered receiver=%s sent=%d later=%d dead=%d",
                    name,
                    done.sent,
                    done.retried_later,
                    done.dead,
                )
            self._unreadable.pop(name, None)
        except StoreError as error:
            if self._unreadable.get(name) != str(error):  # a look each second: said once
                self._unreadable[name] = str(error)
                log.error("outbox not readable, trying on receiver=%s error=%r", name, str(error))
        self._sign(f"send {name}")

    def _listen(self) -> None:
        """See that buttons are heard. Without a connection alerts go out all the same."""
        for listener in self._listeners:
            try:
                listener.connect()
            except SendError as error:
                log.warning("buttons not heard, trying again reason=%s", error)

    def _clicked(self, notifier: Notifier, payload: Mapping[str, Any]) -> None:
        """Act on a click by a job, and return when it is done; WatcherError if it is not in time.

        As a job, since a bug in it is then told like any other.
        """
        click = click_of(payload)
        if click is None:
            return
        done = threading.Event()
        job = f"button {next(self._clicks)}"
        self._scheduler.add_job(self._act, args=[notifier, click, done], id=job)
        if not done.wait(_CLICK):
            raise WatcherError(f"button {click.action}: not done in time")

    def _act(self, notifier: Notifier, click: Click, done: threading.Event) -> None:
        try:
            answer = handle(self._store, click, self.config.members(), self._clock.now())
        except StoreError as error:
            log.error("button not noted action=%s error=%r", click.action, str(error))
            return
        done.set()
        log.info("button action=%s user=%s done=%s", click.action, click.user, bool(answer.deed))
        if answer.deed and answer.receiver in self._wake:
            self._wake[answer.receiver].set()
        if answer.words and isinstance(notifier, Whispers):
            try:
                notifier.whisper(click.channel, click.user, answer.words)
            except SendError as error:
                log.warning("who clicked was not told reason=%s", error)

    def _beat(self) -> None:
        if self._heartbeat and self.healthy():
            self._heartbeat.begin()

    def _housekeep(self) -> None:
        self._sign("housekeeping")
        if not self._store.in_place():
            self.lost = (
                f"{self.config.state_dir}: the state was removed or replaced while it was in use;"
                " put it back, or start anew: what fires is then told once more"
            )
            return
        try:
            self.engine.check_hung()
        except StoreError as error:
            log.error("tick not committed, trying again at the next error=%r", str(error))
        if _mtimes(self.config, self._config_path) != self._files:
            self.reload()

    def _prune(self) -> None:
        try:
            self._store.prune(self._clock.now())
        except StoreError as error:
            log.error("old records not pruned, trying again later error=%r", str(error))

    def _save(self) -> None:
        if self._checkpoint_path is None or self.lost:
            return
        try:
            self.engine.save(self._checkpoint_path)
        except StoreError as error:
            log.error("checkpoint not written error=%r", str(error))
        heap.give_back()  # the copy that was written, and what the first look at each run took

    @property
    def _checkpoint_path(self) -> Path | None:
        state_dir = self.config.state_dir
        return Path(state_dir) / CHECKPOINT if state_dir else None

    def _note(self, event: JobExecutionEvent) -> None:
        """Count what the scheduler could not do; an error is a bug, so it is shown whole."""
        kinds = {EVENT_JOB_ERROR: "error", EVENT_JOB_MISSED: "missed"}
        kind = kinds.get(event.code, "still running")
        task = event.job_id.partition(" ")[0]
        self.trouble[task, kind] += 1
        if kind == "error":
            if task in _SIGNS:  # one that only ever fails is silent from its first failure on
                self._alive.setdefault(_part(event.job_id), self._clock.monotonic())
            log.error("job failed id=%s", event.job_id, exc_info=event.exception)
        else:
            log.debug("job skipped id=%s why=%s", event.job_id, kind)

    def once(self) -> int:
        """Look once at every root, deliver, and say by the exit code whether an alert fires."""
        for path, root in self.engine.roots.items():
            self.engine.poll(path)
            while root.source.behind:
                self.engine.poll(path)
        for wake in self._wake.values():
            wake.set()
        for name, notifier in self._notifiers.items():
            self._send(name, notifier)
        self._save()
        held = [a for root in self.engine.roots.values() for a in root.state.alerts()]
        return int(any(a.state == "firing" and not a.shadow for a in held))

    # ---------------------------------------------------------------- while it runs

    def reload(self) -> None:
        """Take the files anew; what is wrong, or waits for a restart, leaves the old in force."""
        with self._reloading:
            self._files = _mtimes(self.config, self._config_path)
            self.reloaded = self._taken()

    def _taken(self) -> bool:
        """Say whether what the files hold was taken; log why not."""
        try:
            fresh = load_config(self._config_path) if self._config_path else self.config
            fresh, waiting = self.config.until_restart(fresh, self._begun)
            loaded = fresh.rules_after(self.engine.plan.rules)
            plan = plan_of(fresh, self.engine.plan.version + 1, loaded)
        except WatcherError as error:
            problems = error.problems if isinstance(error, InvalidInput) else [str(error)]
            for problem in problems:
                said = printable(str(problem))
                log.error("not reloaded, the last good rules stay problem=%s", said)
            self.engine.plan = refusing(self.engine.plan, self.config, error)
            return False
        before, self.config = self.config, fresh
        self.engine.plan, self.engine.routes = plan, fresh.routes
        self._files = _mtimes(self.config, self._config_path)
        log.info("reloaded rules=%d", len(plan.rules))
        keep_packs(self._store, loaded, fresh)
        if waiting:
            routes = ", and the routes with it" if fresh.routes is before.routes else ""
            log.error("restart the service to change %s%s", ", ".join(waiting), routes)
        if fresh.without_shipped:
            log.warning(WITHOUT_SHIPPED)
        self.waiting = ", ".join(waiting)
        return not log_refused(plan)

    def healthy(self) -> bool:
        """Whether scheduler, evaluator and senders gave a sign of life of late."""
        return not self.ailing()

    def ailing(self) -> str:
        """Say which job gave no sign of life of late, "" if all did.

        A hung mount is no reason to be restarted: then only its own poll is late. A root that
        waits for another one's tick is not late, the other may be.
        """
        now = self._clock.monotonic()
        due = {_part("housekeeping"): _LATE}
        due |= {_part(f"send {name}"): _LATE + _SENDING for name in self._notifiers}
        for path, root in self.engine.roots.items():
            if not root.polling_since and self.engine.ticking in ("", path):
                due[_part(f"poll {path}")] = _LATE + 2 * self.config.poll_interval
        silent = {who: now - self._alive.get(who, now) for who in due}
        late = [f"{who} for {s:.0f} s" for who, s in silent.items() if s >= due[who]]
        return f"no sign of life from the {', '.join(late)}" if late else ""

    # ---------------------------------------------------------------- for monitoring

    def _listen_for_scrapes(self) -> Listener | None:
        """Offer metrics and health. Nothing depends on them: without a port it goes on."""
        if not self.config.listen:
            return None
        page = exposition(
            Seen(
                self.engine,
                self._store,
                self._clock,
                self.trouble,
                self._outcomes,
                self._alive,
                self.ailing,
                lambda: self.reloaded,
                lambda: bool(self.waiting),
            )
        )
        pages = {"/metrics": lambda: (200, CONTENT_TYPE, page()), "/healthz": self._health}
        try:
            listener = Listener(self.config.listen, pages)
        except (OSError, ValueError) as error:  # taken, not ours, or no name of a host
            why = "no metrics, the service goes on; free the address or set another"
            log.error("%s listen=%s reason=%r", why, self.config.listen, str(error))
            return None
        listener.start()
        log.info("metrics at %s/metrics", listener.url)
        return listener

    def _health(self) -> tuple[int, str, bytes]:
        """Return the page for whoever asks whether to restart us: 503 and why, else ok.

        Roots that cannot be read are named, and change nothing.
        """
        ailing = self.ailing()
        roots = [
            f"root {printable(root.path)!r} unreachable: {printable(root.unreachable)}"
            for root in self.engine.roots.values()
            if root.unreachable
        ]
        if not ailing and self.engine.failing:
            ailing = f"no tick can be committed: {printable(self.engine.failing)}"
        text = "".join(f"{line}\n" for line in (ailing or "ok", *roots))
        return (503 if ailing else 200), "text/plain; charset=utf-8", text.encode()

    def wait(self, signals: Signals) -> None:
        """Wait until told to stop; meanwhile tell systemd that all is well, as long as it is."""
        every, told_at = (watchdog_seconds() or 20.0) / 2, -math.inf
        steps = Steps(self._clock)
        while not signals.stop and not self.lost:
            if step := steps.taken():
                self._clock_set(step)
            if signals.reload:
                signals.reload = False
                self.reload()
            if self._clock.monotonic() - told_at >= every:
                told_at = self._clock.monotonic()
                self._tell_systemd()
            self.stopping.wait(_LISTEN)

    def _clock_set(self, step: float) -> None:
        """Let nothing wait for a time by the clock as it was: neither jobs nor what is queued."""
        log.warning("the clock was set by %+.0f s, all jobs run now", step)
        try:
            self._store.clock_set(step, self._clock.now())
        except StoreError as error:
            log.error("retries wait for the clock as it was error=%r", str(error))
        for job in self._scheduler.get_jobs():
            if job.next_run_time is not None:
                self._scheduler.modify_job(job.id, next_run_time=_utcnow(self._clock))

    def _tell_systemd(self) -> None:
        if self.healthy():
            runs = sum(len(root.state.runs) for root in self.engine.roots.values())
            notify("WATCHDOG=1", f"STATUS=following {runs} runs")
        else:
            log.error("%s, letting the watchdog decide", self.ailing())

    def _stop(self, deadline: float) -> None:
        """Stop the jobs and save; leave without a job that hangs for ``deadline`` seconds."""
        notify("STOPPING=1")
        self.stopping.set()
        for wake in self._wake.values():
            wake.set()
        for listener in self._listeners:
            listener.close()
        if self._listener:
            self._listener.close()
        timer = threading.Timer(deadline, _die)
        timer.daemon = True
        timer.start()
        self._scheduler.pause()  # no poll begins any more; one under way takes milliseconds ...
        hung = self._still_polling(_MOMENT)  # ... unless its mount hangs
        self._scheduler.shutdown(wait=not hung)
        self._save()
        timer.cancel()
        if hung:  # the interpreter would wait for its thread for ever
            log.warning("a poll does not answer, leaving without it")
            logging.shutdown()
            os._exit(0)

    def _still_polling(self, seconds: float) -> bool:
        until = self._clock.monotonic() + seconds
        while any(root.polling_since is not None for root in self.engine.roots.values()):
            if self._clock.monotonic() > until:
                return True
            threading.Event().wait(0.05)
        return False


class Signals:
    """Notes signals; the main loop acts on them. A handler that took a lock could deadlock."""

    def __init__(self) -> None:
        self.stop = self.reload = False
        signal.signal(signal.SIGTERM, self._note_stop)
        signal.signal(signal.SIGINT, self._note_stop)
        signal.signal(signal.SIGHUP, self._note_reload)

    def _note_stop(self, number: int, frame: FrameType | None) -> None:
        self.stop = True

    def _note_reload(self, number: int, frame: FrameType | None) -> None:
        self.reload = True


def _die() -> None:
    log.error("a job did not stop in time, leaving without it")
    logging.shutdown()
    os._exit(0)


def _utcnow(clock: Clock, later: float = 0.0) -> object:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(clock.now() + later, UTC)


def keep_packs(store: Store, loaded: Loaded, config: Config) -> None:
    """Keep the teams' packs that were taken, for a start at which they are refused."""
    try:
        store.keep_packs(loaded.texts, [t.name for t in config.teams.values() if t.packs])
    except StoreError as error:
        log.error("packs not kept for the next start error=%r", str(error))


def log_refused(plan: Plan) -> bool:
    """Log which teams' rules are refused; say whether any are."""
    said = [item for told in plan.refused.values() for item in told.items()]
    for team, why in said:
        log.error("rules refused team=%s problem=%s", team, printable(why))
    return bool(said)


def _part(job: str) -> str:
    """Name who does a job, as people are told of it."""
    task, _, what = job.partition(" ")
    return printable(_SIGNS[task].format(what))


def _mtimes(config: Config, path: Path | None) -> dict[str, float]:
    """Return when the files that are reloaded were last changed."""
    found = {}
    for file in [*([path] if path else []), *config.rule_files()]:
        try:
            found[str(file)] = file.stat().st_mtime
        except OSError:
            found[str(file)] = -1.0
    return found

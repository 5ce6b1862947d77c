"""How does the service begin and end? The state opened, the parts put together, signals heard."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

from watcher.clock import Clock, SystemClock
from watcher.config import Config
from watcher.engine import Engine, restore
from watcher.errors import LogdirError, StoreError
from watcher.rules import kept_rules
from watcher.sdnotify import notify
from watcher.service import CHECKPOINT, WITHOUT_SHIPPED, Service, Signals, keep_packs
from watcher.source import scan
from watcher.source.logdir import Logdir
from watcher.store import Store, exclusive
from watcher.wiring import plan_of, source_options

log = logging.getLogger(__name__)


def serve(config: Config, *, config_path: Path | None = None, once: bool = False) -> int:
    """Run the service until a signal ends it; with ``once`` look once, deliver, and stop.

    Returns the exit code: with ``once`` 1 if an alert fires, else 0. Raises WatcherError where
    it cannot begin.
    """
    _log_to_stderr(config.log_level)
    signals = None if once else Signals()
    with ready(config, config_path) as service:
        if signals is None:
            return service.once()
        with service.running():
            notify("READY=1")
            engine = service.engine
            log.info(
                "watching roots=%d rules=%d scanner=%r",
                len(engine.roots),
                len(engine.plan.rules),
                scan.described(),
            )
            if config.without_shipped:
                log.warning(WITHOUT_SHIPPED)
            service.wait(signals)
    if service.lost:
        raise StoreError(service.lost)
    return 0


@contextmanager
def ready(config: Config, config_path: Path | None = None) -> Iterator[Service]:
    """Open the state and put a service together, nothing scheduled yet."""
    clock: Clock = SystemClock()
    with ExitStack() as stack:
        if config.state_dir:
            stack.enter_context(exclusive(Path(config.state_dir)))
        store = stack.enter_context(Store.open(config.state_dir or ":memory:"))
        engine = _engine(config, config_path, store, clock)
        for name in store.give_up_others(config.receivers, clock.now()):
            log.warning("notices given up, no such receiver in the config receiver=%s", name)
        store.begin(clock.now())
        yield Service(config, config_path, engine, store, clock, Random())


def _engine(config: Config, config_path: Path | None, store: Store, clock: Clock) -> Engine:
    sources = {root.path: Logdir([root.path], source_options(root)) for root in config.roots}
    if config_path is None:  # named on the command line: a typing error, not an outage
        for path in sources:
            if not Path(path).exists():
                raise LogdirError(f"{path}: no such directory; name one that holds event files")
    saved = store.load()
    checkpoint = Path(config.state_dir) / CHECKPOINT if config.state_dir else None
    roots = restore(list(sources), sources, saved, checkpoint)
    started = clock.now() if saved.tick_at is None else min(clock.now(), saved.tick_at)
    for root in roots:  # who names a directory on the command line means what is in it
        root.state.judge_from = -math.inf if config_path is None else started - config.catch_up
    loaded = config.rules_after(kept_rules(store.kept_packs()))
    keep_packs(store, loaded, config)
    plan, deaf = plan_of(config, 0, loaded), config.no_resolved()
    return Engine(roots, plan, config.routes, store, clock, saved.heard, no_resolved=deaf)


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(
        level=level.upper(), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )

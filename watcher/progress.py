"""How far is it? A bar on a terminal while something takes long, nothing anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from watcher.clock import SystemClock

_LONG = 1.0  # seconds: what takes less needs no bar

Progress = Callable[[int, int], None]  # how many are done, and how many there are


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """Give what is to be called after each step; the bar goes to stderr and leaves nothing.

    ``what``: the things that are counted, as "runs read".
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = Bars(*columns, console=Console(stderr=True), transient=True)
    clock = SystemClock()
    task, begun = bars.add_task(what), clock.monotonic()

    def show(done: int, total: int) -> None:
        bars.update(task, completed=done, total=total)
        if not bars.live.is_started and clock.monotonic() - begun > _LONG:
            bars.start()

    try:
        yield show
    finally:
        if bars.live.is_started:
            bars.stop()

"""A service that is killed at a chosen place while it delivers. Run by ``test_outbox``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from random import Random
from typing import Any

from watcher.clock import SystemClock
from watcher.notify.outbox import deliver
from watcher.notify.slack import Pace, Slack
from watcher.store import Store


class Killed:
    """Passes everything on to ``inner``, and kills the process before or after one method."""

    def __init__(self, inner: Any, method: str, when: str) -> None:
        self._inner, self._method, self._when = inner, method, when

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name != self._method:
            return method

        def killed(*args: Any, **more: Any) -> Any:
            if self._when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            method(*args, **more)
            os.kill(os.getpid(), signal.SIGKILL)

        return killed


def main(state: str, api: str, token: str, method: str, when: str) -> None:
    """Deliver what is due, and die on the way."""
    bot: Any = Slack(token, "C0000000001", api=api, pace=Pace(0.0))
    with Store.open(Path(state)) as store:
        queue: Any = Killed(store, method, when)
        deliver(queue, "slack", Killed(bot, method, when), SystemClock(), Random(1))


if __name__ == "__main__":
    main(*sys.argv[1:])

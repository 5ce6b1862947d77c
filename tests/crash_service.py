"""Services that live until they are killed: one a line of input. Run by ``test_crashes``.

A line names a place (``-``: none) and a count: the process kills itself when it comes to that
place for the n-th time. The packages are loaded once, so that a service begins within moments.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from watcher import daemon, service
from watcher.config import load_config
from watcher.notify import socketmode  # noqa: F401
from watcher.notify.slack import Pace, Slack
from watcher.store import Store

PLACES: dict[str, tuple[type, str, str]] = {
    "after judge": (Store, "commit", "before"),
    "after commit": (Store, "commit", "after"),
    "before claim": (Store, "claim", "before"),
    "after claim": (Store, "claim", "after"),
    "after send": (Slack, "send", "after"),
    "after settling": (Store, "mark_sent", "after"),
    "between post and upload": (Slack, "_upload", "before"),
    "between upload and edit": (Slack, "_upload", "after"),
    "after the chart": (Slack, "attach", "after"),
    "after putting a chart off": (Store, "mark_chart_later", "after"),
}


def deadly(inner: Callable[..., Any], when: str, nth: int) -> Callable[..., Any]:
    """Return ``inner``, at whose ``nth`` call the process is killed."""
    left = [nth]

    def killed(*args: Any, **more: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = inner(*args, **more)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return killed


def live(config: Path, place: str, nth: int) -> None:
    """Run the service until it is stopped or killed."""
    if place in PLACES:
        owner, name, when = PLACES[place]
        setattr(owner, name, deadly(getattr(owner, name), when, nth))
    notifiers = service.notifiers
    service.notifiers = lambda config: {  # type: ignore[assignment]
        name: replace(one, pace=Pace(0.0)) if isinstance(one, Slack) else one
        for name, one in notifiers(config).items()
    }
    code = 1
    try:
        code = daemon.serve(load_config(config), config_path=config)
    finally:
        os._exit(code)


def say(word: object) -> None:
    """Tell the test a word, at once."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main(config: str) -> None:
    """Fork a service for each line, say its pid, and say how it ended."""
    say("ready")
    for line in sys.stdin:
        place, _, nth = line.strip().rpartition(" ")
        pid = os.fork()
        if pid == 0:
            live(Path(config), place, int(nth))
        say(pid)
        say(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main(sys.argv[1])

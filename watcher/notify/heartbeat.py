"""Does somebody notice if the watcher itself is gone? A sign of life, sent while it is well.

The other side (a dead man's switch) raises the alarm when the signs stay away, so the path that
nobody sees fail, this whole machine, is watched as well.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass, field

from watcher._version import __version__
from watcher.notify.base import SendError
from watcher.notify.http import check_address, post

log = logging.getLogger(__name__)

_TIMEOUT = 10.0  # seconds


@dataclass(slots=True)
class Heartbeat:
    """``url`` is a secret: who knows it can fake the signs. Only its host is ever shown."""

    url: str = field(repr=False)
    failing: bool = False
    _under_way: threading.Thread | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse what is not an address that a secret may go to, with a ValueError."""
        check_address(self.url, private=True)

    def begin(self) -> threading.Thread:
        """Send one sign in a thread that nobody has to wait for, the end of the program neither.

        While one is under way no other is sent. Returns the thread.
        """
        if self._under_way is None or not self._under_way.is_alive():
            self._under_way = threading.Thread(target=self.beat, name="heartbeat", daemon=True)
            self._under_way.start()
        return self._under_way

    def beat(self) -> None:
        """Send one sign. A failure is logged once, until one is taken again; never raises."""
        body = json.dumps({"service": "tb-watcher", "version": __version__}).encode()
        try:
            post("heartbeat", self.url, body, {}, _TIMEOUT)
        except SendError as error:
            if not self.failing:
                log.error("heartbeat not taken, trying again at the next reason=%s", error)
            self.failing = True
            return
        if self.failing:
            log.info("heartbeat taken again")
        self.failing = False

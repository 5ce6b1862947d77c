"""Writes notices to a stream: the default, which needs nothing."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TextIO

from watcher.model import Alert, Notice
from watcher.notify.base import Receipt, SendError
from watcher.notify.message import plain_notice


@dataclass(frozen=True, slots=True)
class Console:
    """``stream``: standard output unless another one is given."""

    stream: TextIO = field(default_factory=lambda: sys.stdout)

    def send(self, notice: Notice, thread: Receipt | None, shown: tuple[Alert, ...]) -> Receipt:
        """Write one line an alert, and flush."""
        encoding = self.stream.encoding or "utf-8"
        text = plain_notice(notice).encode(encoding, "backslashreplace").decode(encoding)
        try:
            self.stream.write(text + "\n")
            self.stream.flush()
        except (OSError, ValueError) as error:  # a closed pipe, a closed stream
            raise SendError(f"standard output: {error}", retryable=False) from error
        return {}

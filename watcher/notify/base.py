"""What do the outbox and the ways to send a message have to agree on?

A notifier tries once and says what came of it. Whether, when and how often it is tried again is
the outbox's matter alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol, TypeVar, runtime_checkable

from watcher.errors import WatcherError
from watcher.model import Alert, Notice

Receipt = Mapping[str, str]  # what a receiver needs to find its message again: channel, ts, ...


class SendError(WatcherError):
    """A message was not sent, or nobody knows.

    ``retryable``: trying again may help. ``retry_after``: seconds the receiver asked to be left
    alone. ``ambiguous``: the message may have arrived all the same. ``setup``: no message would
    get through, until somebody mends the token, the channel or the like. Never holds a secret.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool,
        retry_after: float | None = None,
        ambiguous: bool = False,
        setup: bool = False,
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.retry_after = retry_after
        self.ambiguous = ambiguous
        self.setup = setup


class Notifier(Protocol):
    """One way to reach people. Raises ``SendError``; never retries by itself."""

    def send(self, notice: Notice, thread: Receipt | None, shown: tuple[Alert, ...]) -> Receipt:
        """Send one message and return the receipt of its group's first message.

        ``thread`` is that receipt so far, None if this is the first message of its group.
        ``shown`` are the alerts as the first message should now show them.
        """


@runtime_checkable
class Finds(Protocol):
    """A notifier that can tell whether a message arrived after all."""

    def find(self, notice: Notice, thread: Receipt | None) -> Receipt | None:
        """Return the receipt of ``notice`` if the receiver has it, None if it has not."""


@runtime_checkable
class Attaches(Protocol):
    """A notifier that can add a picture to a message it sent."""

    def attach(
        self, notice: Notice, receipt: Receipt, shown: tuple[Alert, ...], png: bytes
    ) -> Receipt:
        """Add ``png`` to the group's first message and return its new receipt."""


@runtime_checkable
class Busy(Protocol):
    """A notifier that may have no time for a picture just now."""

    def busy(self) -> bool:
        """Whether adding a picture would have to wait."""


@runtime_checkable
class Whispers(Protocol):
    """A notifier that can say something to one person alone."""

    def whisper(self, channel: str, user: str, words: str) -> None:
        """Say ``words``, escaped already, to ``user`` in ``channel``."""


@runtime_checkable
class Examined(Protocol):
    """A notifier that can tell whether it could send, without sending anything."""

    def lacks(self) -> str:
        """Return what it has not been granted, in words, "" if nothing. Raises ``SendError``."""


Part = TypeVar("Part")


class Progress:
    """Which parts of a notice were accepted, so that a retry need not repeat them.

    Held in memory only: after a restart, the parts of an unfinished notice are sent once more.
    """

    def __init__(self) -> None:
        self._accepted: dict[str, set[str]] = {}

    def of(self, notice_id: str) -> set[str]:
        """Return the keys of the parts that were accepted, to be added to."""
        return self._accepted.setdefault(notice_id, set())

    def finish(self, notice_id: str) -> None:
        """Forget a notice: all of it was sent."""
        self._accepted.pop(notice_id, None)

    def rest(
        self, notice_id: str, parts: Iterable[Part], key: Callable[[Part], str]
    ) -> Iterator[Part]:
        """Yield what is still to be sent; the part before is taken as sent when asked for more."""
        accepted = self.of(notice_id)
        for part in parts:
            if key(part) not in accepted:
                yield part
                accepted.add(key(part))
        self.finish(notice_id)


def seconds(header: str | None) -> float | None:
    """Read ``Retry-After`` given in seconds, an hour at most. None for anything else, and for what
    asks to be hammered: then our own pauses count.
    """
    try:
        asked = float(header or "")
    except ValueError:
        return None
    return min(asked, 3600.0) if asked > 0 else None

"""When is it sent again? The only retry loop.

One ``deliver`` call serves one receiver, and each receiver has a job of its own with at most one
instance, so a slow receiver keeps nobody else waiting. A notice is claimed before it is sent and
settled after: whatever a crash leaves claimed may have arrived, and is looked up before it is
sent again wherever the receiver allows that. At least once, and in Slack never twice.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

from watcher.clock import Clock
from watcher.errors import StoreError
from watcher.model import Alert, Notice, WallTime
from watcher.notify.base import Attaches, Busy, Finds, Notifier, Receipt, SendError
from watcher.notify.message import MOST_ALERTS
from watcher.routing import loudest_first

FIRST_DELAY = 2.0  # seconds before the second try; doubled with every further one
LONGEST_DELAY = 300.0
GIVE_UP_AFTER = 3 * 86400.0  # seconds a notice is worth retrying
_MOST = 50  # notices a call
_CHART_DELAY = 5.0  # seconds before a chart is tried again; doubled with every further try
_CHART_TRIES = 7  # about ten minutes: a service that starts may have much to read

Charts = Callable[[Notice], bytes | None]

_log = logging.getLogger(__name__)


class Owed(Protocol):
    """A notice to send, as the store gives it."""

    @property
    def notice(self) -> Notice:
        """What is to be sent."""

    @property
    def doubtful(self) -> bool:
        """Whether an earlier try may have arrived."""

    @property
    def thread(self) -> Receipt | None:
        """The receipt of the group's first message."""

    @property
    def shown(self) -> tuple[Alert, ...]:
        """The alerts as the first message shows them."""


class Queue(Protocol):
    """What delivering needs of the store. Every method is one transaction."""

    def due(self, receiver: str, now: WallTime, limit: int = ...) -> Sequence[Owed]:
        """Return what may be sent now: of each group the oldest only."""

    def claim(self, notice_id: str) -> None:
        """Note that sending begins."""

    def mark_sent(
        self, notice: Notice, receipt: Receipt, shown: tuple[Alert, ...], now: WallTime
    ) -> None:
        """Note that it was sent."""

    def mark_thread(
        self, notice: Notice, receipt: Receipt, shown: tuple[Alert, ...], now: WallTime
    ) -> None:
        """Note what changed in the group's first message."""

    def chartless(self, receiver: str, now: WallTime) -> Sequence[Owed]:
        """Return the first messages whose chart is owed now; ``attempts`` counts its tries."""

    def mark_chart_later(self, notice: Notice, at: WallTime | None) -> None:
        """Put a chart off until ``at``; None gives it up."""

    def mark_failed(
        self,
        notice: Notice,
        error: str,
        *,
        next_attempt_at: WallTime,
        paused_until: WallTime,
        doubtful: bool,
    ) -> None:
        """Put it back, and pause the receiver."""

    def mark_dead(
        self, notice: Notice, error: str, now: WallTime, instead: Notice | None = ...
    ) -> None:
        """Give it up, and queue another one instead."""

    def merge(self, receiver: str) -> None:
        """Make one notice of many of one group that wait, as it is by now."""

    def failures(self, receiver: str) -> int:
        """Count the failures in a row."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """What one call did."""

    sent: int = 0
    retried_later: int = 0
    dead: int = 0


def deliver(
    queue: Queue,
    receiver: str,
    notifier: Notifier,
    clock: Clock,
    random: Random,
    *,
    charts: Charts = lambda notice: None,
    fallback: str | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Delivered:
    """Send what is due to one receiver, and say what came of it.

    1. Take the oldest notice of each group: a resolution never overtakes its alert.
    2. Claim, look it up if it may have arrived already, send, settle.
    3. A failure that may pass ends the call: the receiver is left alone for a while.
    4. One that will not pass makes a dead letter; ``fallback`` is told instead. Without one, what
       somebody has to mend is waited for like a failure that passes.
    5. Charts come last: no alert waits for one. What is owed is in the database, so a crash
       between a message and its chart loses neither.

    Goes on until nothing is due or ``stop`` says so. StoreError passes through.
    """
    done = _send_all(queue, receiver, notifier, clock, random, fallback, stop)
    if isinstance(notifier, Attaches) and not done.retried_later:
        for item in queue.chartless(receiver, clock.now()):
            if stop() or queue.due(receiver, clock.now(), 1):
                break  # what is new goes first
            if isinstance(notifier, Busy) and notifier.busy():
                break
            _add_chart(queue, item, notifier, clock, charts)
    return done


def _send_all(
    queue: Queue,
    receiver: str,
    notifier: Notifier,
    clock: Clock,
    random: Random,
    fallback: str | None,
    stop: Callable[[], bool],
) -> Delivered:
    sent = dead = 0
    while not stop() and (owed := queue.due(receiver, clock.now(), _MOST)):
        for item in owed:
            if stop():
                break
            try:
                _send(queue, item, notifier, clock)
            except SendError as error:
                instead = fallback if fallback != receiver else None
                if _worth_retrying(item.notice, error, clock.now(), instead):
                    _put_back(queue, item.notice, error, clock.now(), random)
                    return Delivered(sent, 1, dead)
                _give_up(queue, item.notice, error, clock.now(), instead)
                dead += 1
                continue
            sent += 1
    return Delivered(sent, 0, dead)


def _send(queue: Queue, item: Owed, notifier: Notifier, clock: Clock) -> None:
    notice, shown = item.notice, _merged(item.shown, item.notice.alerts)
    queue.claim(notice.id)
    receipt = _look_up(item, notifier) if item.doubtful else None
    if receipt is None:
        with _bugs_put_off(notice):
            receipt = notifier.send(notice, item.thread, shown)
        _log.info(
            "notice sent id=%s receiver=%s reason=%r", notice.id, notice.receiver, notice.reason
        )
    else:
        _log.info("notice had arrived id=%s receiver=%s", notice.id, notice.receiver)
    queue.mark_sent(notice, receipt, shown, clock.now())


@contextmanager
def _bugs_put_off(notice: Notice) -> Iterator[None]:
    """Let a bug in a notifier, a message or a chart be a failure like any other: others go on."""
    try:
        yield
    except (SendError, StoreError):
        raise
    except Exception as error:
        _log.exception("not sent or drawn notice=%s receiver=%s", notice.id, notice.receiver)
        text = f"{notice.receiver}: {type(error).__name__}, see the log"
        raise SendError(text, retryable=True, ambiguous=True) from error


def _merged(shown: tuple[Alert, ...], news: tuple[Alert, ...]) -> tuple[Alert, ...]:
    """Return what the first message should show: its own alerts, as they are now, the loudest of
    those that fire first: what is on top speaks for all.

    One that fires again, from a later step on, takes the place of the one that was over.
    """
    if not shown:
        return news
    now = {alert.slot: alert for alert in sorted(news, key=lambda alert: alert.open)}
    merged = {alert.slot: now.get(alert.slot, alert) for alert in shown}
    return tuple(sorted(merged.values(), key=loudest_first))


def _look_up(item: Owed, notifier: Notifier) -> Receipt | None:
    """Find a message that may have arrived. Not being allowed to look must not lose it."""
    if not isinstance(notifier, Finds):
        return None
    try:
        return notifier.find(item.notice, item.thread)
    except SendError as error:
        if error.retryable:
            raise SendError(
                str(error), retryable=True, retry_after=error.retry_after, ambiguous=True
            ) from error
        _log.warning(
            "cannot look up notice id=%s reason=%s action=sent again", item.notice.id, error
        )
        return None


def _add_chart(queue: Queue, item: Owed, notifier: Attaches, clock: Clock, charts: Charts) -> None:
    """Add a picture to a message that is out already. What fails is tried again, a few times.

    After a start the run may not have been read yet: then there is nothing to draw so far.
    """
    notice, shown, receipt = item.notice, item.shown, item.thread or {}
    pause = _CHART_DELAY * 2.0**notice.attempts
    if len(shown) > MOST_ALERTS:
        queue.mark_chart_later(notice, None)
        return
    try:
        with _bugs_put_off(notice):
            png = charts(replace(notice, alerts=shown))
            pictured = notifier.attach(notice, receipt, shown, png) if png is not None else None
    except SendError as error:
        pictured = None
        if error.retry_after is None:
            _log.warning("chart not added notice=%s reason=%s", notice.id, error)
        else:
            pause = min(pause, error.retry_after)
    if pictured is not None:
        queue.mark_thread(notice, pictured, shown, clock.now())
        return
    again = notice.attempts < _CHART_TRIES
    queue.mark_chart_later(notice, clock.now() + pause if again else None)


def _worth_retrying(notice: Notice, error: SendError, now: WallTime, fallback: str | None) -> bool:
    mendable = error.setup and fallback is None
    return (error.retryable or mendable) and now - notice.queued_at < GIVE_UP_AFTER


def _put_back(
    queue: Queue, notice: Notice, error: SendError, now: WallTime, random: Random
) -> None:
    """Retry later. The receiver rests as well, so that a dead one is not asked by each notice."""
    pause = _delay(queue.failures(notice.receiver), random)
    delay = max(pause, _delay(notice.attempts, random))
    if error.retry_after is not None:
        pause = max(error.retry_after, 0.0)
        delay = pause
    _log.warning(
        "notice not sent id=%s receiver=%s reason=%s action=retry in %.0f s",
        notice.id,
        notice.receiver,
        error,
        delay,
    )
    queue.mark_failed(
        notice,
        str(error),
        next_attempt_at=now + delay,
        paused_until=now + pause,
        doubtful=error.ambiguous,
    )
    if error.setup:  # that may last
        queue.merge(notice.receiver)


def _delay(tries: int, random: Random) -> float:
    """Return an exponential back-off with jitter: between half and the whole of it."""
    return min(FIRST_DELAY * 2.0 ** min(tries, 20), LONGEST_DELAY) * random.uniform(0.5, 1.0)


def _give_up(
    queue: Queue, notice: Notice, error: SendError, now: WallTime, fallback: str | None
) -> None:
    instead = None
    if fallback is not None:
        instead = replace(
            notice,
            id=hashlib.sha256(f"{notice.id} {fallback}".encode()).hexdigest()[:32],
            receiver=fallback,
            group_key=f"{notice.group_key} by {fallback}",
            reason=f"{notice.reason}; {notice.receiver} cannot be reached",
            queued_at=now,
            attempts=0,
            next_attempt_at=now,
        )
    _log.error(
        "notice given up id=%s receiver=%s reason=%s action=kept as dead letter%s",
        notice.id,
        notice.receiver,
        error,
        f", sent to {fallback}" if instead else "",
    )
    queue.mark_dead(notice, str(error), now, instead)

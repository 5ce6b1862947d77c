"""What every receiver must do alike, whatever is at the other end: nobody, noise, an ear."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.clocks import ManualClock
from tests.notify.examples import HOSTILE, NOW, a_notice, an_alert, closed
from tests.notify.fake_smtp import FakeSmtp
from tests.notify.fake_webhook import FakeWebhook
from watcher.model import AlertState, Notice, Severity
from watcher.notify.alertmanager import Alertmanager
from watcher.notify.base import Notifier, SendError
from watcher.notify.email import Email
from watcher.notify.fake_slack import FakeSlack
from watcher.notify.outbox import Delivered, deliver
from watcher.notify.pace import Pace
from watcher.notify.pagerduty import PagerDuty
from watcher.notify.slack import Slack
from watcher.notify.slack_webhook import SlackWebhook
from watcher.notify.webhook import Webhook
from watcher.store import Changes, Store

SECRET = "very-secret"
Make = Callable[[int], Notifier]


def at(port: int) -> str:
    return f"http://127.0.0.1:{port}/{SECRET}"


def mailer(port: int) -> Email:
    ends = ("localhost", "w@example.org", ("a@example.org",))
    login = {"username": "u", "password": SECRET}
    return Email(*ends, port, "plain", timeout=0.3, **login)  # type: ignore[arg-type]


def slack(port: int) -> Slack:
    api = f"http://127.0.0.1:{port}/api/"
    return Slack(SECRET, "C0000000001", timeout=1, api=api, pace=Pace(0.0))


KINDS: dict[str, Make] = {
    "webhook": lambda port: Webhook(at(port), SECRET.encode(), 0.3),
    "slack-webhook": lambda port: SlackWebhook(at(port), timeout=0.3, pace=Pace(0.0)),
    "alertmanager": lambda port: Alertmanager(at(port), token=SECRET, timeout=0.3),
    "pagerduty": lambda port: PagerDuty(SECRET, at(port), 0.3),
    "email": mailer,
    "slack": slack,
}
every = pytest.mark.parametrize("kind", KINDS)


@contextlib.contextmanager
def hasty() -> Iterator[int]:
    """Hear each caller out, begin an answer that all is well, and hang up within its headers."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    line, _ = server.accept()
                    with line, line.makefile("rb") as said:
                        length = 0
                        while (header := said.readline()).strip():
                            if header.lower().startswith(b"content-length:"):
                                length = int(header.partition(b":")[2])
                        said.read(length)
                        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")

        threading.Thread(target=serve, daemon=True).start()
        yield int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def stranger(said: bytes | None) -> Iterator[int]:
    """Listen, and say ``said`` to whoever calls and hang up; None: say nothing, hold the line."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    line, _ = server.accept()
                    held.append(line)
                    if said is not None:
                        line.settimeout(0.1)
                        line.sendall(said)
                        line.close()

        threading.Thread(target=serve, daemon=True).start()
        yield int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)
        for line in held:
            line.close()


def failure(notifier: Notifier) -> SendError:
    with pytest.raises(SendError) as caught:  # of a line that is held: it was not waited for
        notifier.send(a_notice(), None, ())
    assert "\n" not in str(caught.value)
    assert SECRET not in f"{caught.value} {notifier!r}"
    return caught.value


@every
def test_nobody_there_may_pass_and_nothing_arrived(kind: str) -> None:
    error = failure(KINDS[kind](9))
    assert (error.retryable, error.ambiguous) == (True, False)


@every
def test_silence_ends_by_the_time_out_and_may_pass(kind: str) -> None:
    with stranger(None) as port:
        assert failure(KINDS[kind](port)).retryable


@pytest.mark.parametrize("kind", ["webhook", "slack-webhook", "alertmanager", "pagerduty"])
def test_an_answer_that_ends_within_its_headers_is_none(kind: str) -> None:
    with hasty() as port:
        error = failure(KINDS[kind](port))
    assert (error.retryable, error.ambiguous) == (True, True)


@every
@pytest.mark.parametrize(
    "noise",
    [b"", b"\x00\xff\x16\x03\r\n\r\n" * 50, b"HTTP/1.1 200 OK\r\nA"],
    ids=("nothing", "bytes", "half"),
)
def test_noise_is_a_failure_that_may_pass(kind: str, noise: bytes) -> None:
    with stranger(noise) as port:
        assert failure(KINDS[kind](port)).retryable


@contextlib.contextmanager
def listening(kind: str) -> Iterator[tuple[Notifier, Callable[[], int]]]:
    """Put an ear to the other end; what sends there, and how many messages were heard."""
    if kind == "email":
        with FakeSmtp() as smtp:
            yield KINDS[kind](smtp.port), lambda: len(smtp.received)
    elif kind == "slack":
        with FakeSlack(token=SECRET) as fake:
            port = int(fake.api.split(":")[2].split("/")[0])
            yield KINDS[kind](port), lambda: len(fake.messages)
    else:
        with FakeWebhook() as web:
            port = int(web.url.split(":")[2].split("/")[0])
            yield KINDS[kind](port), lambda: len(web.bodies)


def notices() -> Iterator[Notice]:
    """Whatever may be owed: each reason, nothing known, hostile names, very many, very long."""
    for reason in ("first notification", "louder", "repeat interval elapsed", "odd"):
        yield a_notice(reason=reason, id=reason)
    for state in (AlertState.RESOLVED, AlertState.ENDED, AlertState.SUPERSEDED):
        yield a_notice(closed(an_alert(), state), reason="resolved", id=state)
    unknown = {"onset_step": None, "best_step": None, "best_value": None, "value": None}
    yield a_notice(an_alert(**unknown, inputs={}, labels={}, fired_at=None, reason=""), id="?")
    for value in (float("nan"), float("inf")):
        yield a_notice(an_alert(value=value, best_value=value), id=str(value))
    hostile = an_alert(HOSTILE, run=HOSTILE, reason=HOSTILE, labels={HOSTILE: HOSTILE})
    yield a_notice(hostile, id="hostile", group_key=HOSTILE)
    yield a_notice(
        *(an_alert(f"A{i}", run=f"r{i}") for i in range(300)), id="many", reason="storm"
    )
    yield a_notice(an_alert("N" * 4000, run="r" * 4000, reason="x" * 9000), id="long")
    yield a_notice(an_alert(run=".", severity=Severity.INFO), id=".")


@every
def test_whatever_is_owed_is_taken(kind: str) -> None:
    with listening(kind) as (notifier, heard):
        for count, notice in enumerate(notices(), 1):
            receipt = notifier.send(notice, None, notice.alerts)
            assert json.loads(json.dumps(dict(receipt))) == receipt
            assert all(isinstance(value, str) for value in receipt.values())
            assert heard() >= count


@every
def test_the_receipt_of_another_kind_of_receiver_does_no_harm(kind: str) -> None:
    others: tuple[dict[str, str], ...] = (
        {},
        {"channel": "C0000000009", "ts": "1.2", "id": "x"} if kind != "slack" else {},
        {"message_id": "<a@example.org>", "subject": "s"} if kind != "email" else {},
        {"digest": "x"} if kind != "pagerduty" else {},
    )
    with listening(kind) as (notifier, heard):
        for i, receipt in enumerate(others):
            notifier.send(a_notice(id=str(i)), receipt, ())
            assert heard() == i + 1


@every
def test_an_alerts_life_passes_the_outbox_and_a_restart(kind: str, tmp_path: Path) -> None:
    quiet, loud = an_alert(severity=Severity.WARNING), an_alert()
    life = (
        a_notice(quiet, id="1"),
        a_notice(loud, id="2", reason="louder"),
        a_notice(closed(loud), id="3", reason="resolved"),
    )
    with listening(kind) as (notifier, heard):
        for notice in life:
            with Store.open(tmp_path) as store:
                store.commit(Changes(NOW, notices=(notice,)))
                done = deliver(store, "slack", notifier, ManualClock(NOW), Random(1))
            assert done == Delivered(sent=1)
        assert heard() == 3


def test_the_names_of_the_kinds_are_all() -> None:
    from watcher.receivertext import RECEIVERS

    tested_elsewhere = {"console", "apprise"}
    assert set(KINDS) | tested_elsewhere == set(RECEIVERS)
    assert not any("_" in name for name in RECEIVERS)

"""Buttons from end to end: the service, a database on disk, Socket Mode, and a restart."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.logs import EventLog
from tests.waiting import wait
from watcher.config import load_config
from watcher.daemon import ready
from watcher.notify.fake_slack import FakeSlack
from watcher.store import Store


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    with FakeSlack() as slack:
        yield slack


@contextmanager
def service(home: Path, slack: FakeSlack) -> Iterator[None]:
    for name, value in (("token", slack.token), ("app", slack.app_token)):
        (home / name).write_text(value)
        (home / name).chmod(0o600)
    (home / "pack.yaml").write_text("rules:\n  - alert: NaN\n    detector: nan\n")
    config = home / "config.toml"
    config.write_text(
        f'state_dir = "state"\npoll_interval = "1s"\n[[roots]]\npath = "logs"\n'
        f'labels = "{{team}}"\n[rules]\npacks = ["pack.yaml"]\n'
        f'[teams.vision]\nmembers = ["U0000000001"]\n'
        f'[receivers.slack]\ntype = "slack"\nchannel = "C0000000001"\ntoken_file = "token"\n'
        f'app_token_file = "app"\napi_url = "{slack.api}"\n[route]\nreceiver = "slack"\n'
    )
    with ready(load_config(config), config) as made, made.running():
        wait(lambda: slack.socket.connected)
        yield
    wait(lambda: not slack.socket.connected)


def goes_wrong(home: Path, run: str) -> None:
    log = EventLog(home / "logs" / run, start=time.time())
    for step in range(20):
        log.add(step, {"train/loss": float("nan") if step > 10 else 1.0}, time.time())
    log.close()


def notes(slack: FakeSlack) -> str:
    return str([b["elements"] for b in slack.messages[0]["blocks"] if b["type"] == "context"])


def test_a_click_silences_and_the_message_says_so_after_a_restart_too(
    tmp_path: Path, slack: FakeSlack
) -> None:
    (tmp_path / "logs").mkdir()
    with service(tmp_path, slack):
        goes_wrong(tmp_path, "vision/a")
        wait(lambda: slack.messages)
        ts = slack.messages[0]["ts"]
        assert slack.press(ts, "silence_1h", "U0000000002")  # not of the team
        wait(lambda: slack.whispers)
        assert slack.whispers[0]["user"] == "U0000000002"
        assert "Only members of team vision" in slack.whispers[0]["text"]
        assert slack.press(ts, "silence_1h")
        wait(lambda: "Silenced until" in notes(slack))
    with Store.open(tmp_path / "state", read_only=True) as store:
        assert len(store.list_silences()) == 1
    with service(tmp_path, slack):
        slack.socket.refresh()  # Slack wants a new connection now and then
        wait(lambda: slack.socket.connected)
        wait(lambda: slack.press(ts, "acknowledge"))
        wait(lambda: "Acknowledged by <@U0000000001>" in notes(slack))
        assert "Silenced until" in notes(slack)
        assert slack.press(ts, "more")
        wait(lambda: len(slack.whispers) == 2)
        assert "usually helps" in slack.whispers[1]["text"]
    assert len(slack.messages) == 1


def test_without_a_service_nobody_takes_a_click(tmp_path: Path, slack: FakeSlack) -> None:
    (tmp_path / "logs").mkdir()
    with service(tmp_path, slack):
        goes_wrong(tmp_path, "vision/a")
        wait(lambda: slack.messages)
    assert not slack.press(slack.messages[0]["ts"], "acknowledge")

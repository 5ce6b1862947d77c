"""apprise behind a stand-in, and apprise itself over real HTTP where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.notify.examples import HOSTILE, a_notice, an_alert, closed
from tests.notify.fake_webhook import FakeWebhook
from watcher.notify.apprise import Apprise
from watcher.notify.base import SendError

STAND_INS = Path(__file__).parent / "stand_ins"
INSTALLED = importlib.util.find_spec("apprise") is not None


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """Put the stand-in into apprise's place; what it was told."""
    monkeypatch.syspath_prepend(str(STAND_INS))
    monkeypatch.delitem(sys.modules, "apprise", raising=False)
    module = importlib.import_module("apprise")
    yield module.told
    sys.modules.pop("apprise", None)


def test_every_service_is_told_in_plain_text(told: list[dict[str, Any]]) -> None:
    receiver = Apprise("spy://ok/s3cret1\n\n# a comment\n  spy://ok/s3cret2\n", timeout=3.0)
    assert receiver.send(a_notice(), None, ()) == {}
    assert [one["url"] for one in told] == ["spy://ok/s3cret1", "spy://ok/s3cret2"]
    assert told[0]["title"] == "🔴 Critical: LossIsNaN · vision/resnet50"
    assert "train/loss became NaN" in told[0]["body"]
    assert (told[0]["notify_type"], told[0]["body_format"]) == ("failure", "text")
    assert told[0]["timeout"] == 3.0
    receiver.send(a_notice(closed(an_alert()), id="2"), None, ())
    assert told[-1]["notify_type"] == "success"


@pytest.mark.parametrize("kind", ["no", "oops"])
def test_a_retry_tells_only_who_was_not_reached(
    told: list[dict[str, Any]], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Apprise(f"spy://ok/s3cret\nspy://{kind}/s3cret")
    for _ in range(2):
        with pytest.raises(SendError, match="address in line 2") as caught:
            receiver.send(a_notice(), None, ())
        assert caught.value.retryable
        assert "s3cret" not in f"{caught.value} {receiver!r} {caplog.text}"
        assert caught.value.__cause__ is None
    assert [one["url"].split("/")[2] for one in told] == ["ok", kind, kind]


def test_hostile_names_neither_mention_nor_link(told: list[dict[str, Any]]) -> None:
    alert = an_alert(HOSTILE, run=HOSTILE, reason=f"{HOSTILE} [x](https://e.example) @everyone")
    Apprise("spy://ok").send(a_notice(alert), None, ())
    Apprise("spy://ok").send(a_notice(*[alert] * 40, id="many"), None, ())
    for one in told:
        assert one["title"].isprintable()
        assert all(line.isprintable() for line in one["body"].splitlines())
        assert not set("@<>[]") & set(one["title"] + one["body"])
        assert len(one["body"]) < 4000


def test_an_address_that_is_none_is_named_by_its_line_only(
    told: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    Apprise("spy://ok")
    with pytest.raises(ValueError, match="line 2") as caught:
        Apprise("spy://ok\nnonsense-s3cret")
    assert "s3cret" not in f"{caught.value}{caplog.text}"
    with pytest.raises(ValueError, match="names no address"):
        Apprise("# nothing")


@pytest.mark.skipif(INSTALLED, reason="apprise is installed")
def test_without_apprise_the_next_step_is_said() -> None:
    with pytest.raises(ValueError, match=r"pip install 'tb-watcher\[apprise\]'"):
        Apprise("json://localhost")


@pytest.mark.skipif(not INSTALLED, reason="apprise is not installed")
@pytest.mark.filterwarnings("default")  # its plugins import what Python is to drop
def test_apprise_itself_delivers_and_says_when_it_cannot(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with FakeWebhook() as fake:
        receiver = Apprise(fake.url.replace("http:", "json:"), timeout=0.5)
        receiver.send(a_notice(), None, ())
        said = json.loads(fake.bodies[0])
        assert said["title"] == "🔴 Critical: LossIsNaN · vision/resnet50"
        assert said["type"] == "failure"
        for answer in ((500, {}, 0.0), (200, {}, 1.0)):
            fake.answers.append(answer)  # type: ignore[arg-type]
            with pytest.raises(SendError) as caught:
                receiver.send(a_notice(), None, ())
            assert "very-secret" not in f"{caught.value}{caplog.text}"
    with pytest.raises(ValueError, match="line 1"):
        Apprise("no-such-service://very-secret")
    assert "very-secret" not in caplog.text

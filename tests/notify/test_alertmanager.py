"""An Alertmanager over real HTTP: labels, times, logins, louder alerts, and every failure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.notify.examples import HOSTILE, NOW, a_notice, an_alert, closed
from tests.notify.fake_webhook import FakeWebhook
from watcher.model import AlertState, Severity
from watcher.notify.alertmanager import Alertmanager, label_name, labels
from watcher.notify.base import SendError


@pytest.fixture
def fake() -> Iterator[FakeWebhook]:
    with FakeWebhook() as fake:
        yield fake


def posted(fake: FakeWebhook) -> list[dict[str, Any]]:
    """Return what the last call brought."""
    said: list[dict[str, Any]] = json.loads(fake.bodies[-1])
    return said


def at(text: str) -> float:
    assert text.endswith("+00:00")
    return datetime.fromisoformat(text).timestamp()


def test_an_alert_arrives_with_labels_annotations_and_times(fake: FakeWebhook) -> None:
    alert = an_alert(
        labels={"team": "vision", "gpu-type": "a100"},
        annotations={"summary": "{run} is NaN", "runbook": "https://wiki.example.org/nan"},
    )
    Alertmanager(f"{fake.url}/").send(a_notice(alert), None, ())
    assert fake.paths == ["/hook/very-secret/api/v2/alerts"]
    assert fake.headers[0]["Content-Type"] == "application/json"
    assert "Authorization" not in fake.headers[0]
    (one,) = posted(fake)
    assert one["labels"] == {
        "alertname": "LossIsNaN",
        "severity": "critical",
        "root": "/logs",
        "run": "vision/resnet50",
        "attempt": "0",
        "subject": "loss",
        "detector": "nan",
        "team": "vision",
        "rule": "LossIsNaN",
        "onset_step": "800",
        "gpu_type": "a100",
    }
    said = one["annotations"]
    assert said["summary"] == "vision/resnet50 is NaN"
    assert said["description"].startswith("train/loss became NaN")
    assert (said["best_step"], said["best_value"]) == ("790", "0.2314")
    assert said["runbook_url"] == "https://wiki.example.org/nan"
    assert at(one["startsAt"]) == NOW
    assert at(one["endsAt"]) == NOW + 90 * 86400
    assert "generatorURL" not in one


@pytest.mark.parametrize(
    "state", [AlertState.RESOLVED, AlertState.ENDED, AlertState.SUPERSEDED], ids=str
)
def test_a_closing_ends_what_the_firing_began(fake: FakeWebhook, state: AlertState) -> None:
    manager = Alertmanager(fake.url)
    receipt = manager.send(a_notice(), None, ())
    (firing,) = posted(fake)
    assert manager.send(a_notice(closed(an_alert(), state)), receipt, ()) == {}
    (ended,) = posted(fake)
    assert ended["labels"] == firing["labels"]
    assert at(ended["endsAt"]) == at(ended["startsAt"]) == NOW
    later = replace(closed(an_alert(), state), resolved_at=NOW + 3600)
    manager.send(a_notice(later), receipt, ())
    (ended,) = posted(fake)
    assert at(ended["endsAt"]) == NOW + 3540  # over by any clock that is less than that behind


def test_an_end_is_never_before_the_start(fake: FakeWebhook) -> None:
    early = replace(closed(an_alert()), resolved_at=NOW - 10)  # a clock that was set back
    Alertmanager(fake.url).send(a_notice(early), None, ())
    (one,) = posted(fake)
    assert one["startsAt"] == one["endsAt"]


def test_what_became_louder_ends_its_quieter_self(fake: FakeWebhook) -> None:
    manager = Alertmanager(fake.url)
    receipt = manager.send(a_notice(an_alert(severity=Severity.WARNING)), None, ())
    louder = a_notice(an_alert(), reason="louder", queued_at=NOW + 90)
    receipt = manager.send(louder, receipt, ())
    quiet, loud = posted(fake)
    assert (quiet["labels"]["severity"], at(quiet["endsAt"])) == ("warning", NOW + 30)
    assert (loud["labels"]["severity"], at(loud["endsAt"]) > NOW + 86400) == ("critical", True)
    manager.send(a_notice(closed(an_alert())), receipt, ())
    assert [one["labels"]["severity"] for one in posted(fake)] == ["critical"]


def test_labels_tell_apart_what_identity_tells_apart() -> None:
    base = an_alert()
    others = (
        an_alert(onset=900),
        an_alert(attempt=1),
        an_alert(run="vision/other"),
        an_alert(root="/other"),
        an_alert("Other"),
    )
    for other in others:
        assert labels(base, "info") != labels(other, "info")


def test_colliding_and_reserved_names_lose_nothing() -> None:
    alert = an_alert(labels={"a-b": "1", "a.b": "2", "a_b": "3", "severity": "x", "__name": "4"})
    made = labels(alert, "critical")
    assert sorted(made[n] for n in ("a_b", "a_b_2", "a_b_3")) == ["1", "2", "3"]
    assert (made["severity"], made["_name"]) == ("critical", "4")


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=6), st.text(max_size=9))
def test_every_label_is_one_that_prometheus_takes(given_: dict[str, str], run: str) -> None:
    made = labels(an_alert(labels=given_, run=run), "info")
    for name, value in made.items():
        assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name)
        assert not name.startswith("__")
        assert value.isprintable()
        assert value
    ours = labels(an_alert(labels={}, run=run, attempt=1), "info")
    assert len(made) == len(ours) + len({name for name in given_ if given_[name]} - {*ours, "run"})


@given(st.text(max_size=12))
def test_sanitising_twice_is_sanitising_once(text: str) -> None:
    assert label_name(label_name(text)) == label_name(text)


def test_hostile_names_are_plain_text(fake: FakeWebhook) -> None:
    alert = an_alert(run=HOSTILE, reason=HOSTILE, labels={HOSTILE: HOSTILE})
    Alertmanager(fake.url).send(a_notice(alert), None, ())
    for text in (*posted(fake)[0]["labels"].values(), *posted(fake)[0]["annotations"].values()):
        assert text.isprintable()


def test_logins_are_sent_and_never_shown(fake: FakeWebhook) -> None:
    bearer = Alertmanager(fake.url, token="s3cret")
    basic = Alertmanager(fake.url, username="u", password="s3cret")
    for manager, header in ((bearer, "Bearer s3cret"), (basic, "Basic dTpzM2NyZXQ=")):
        fake.answers.append((401, {}, 0.0))
        with pytest.raises(SendError, match="asks for a login") as caught:
            manager.send(a_notice(), None, ())
        assert fake.headers[-1]["Authorization"] == header
        for secret in ("s3cret", "very-secret", header):
            assert secret not in f"{caught.value} {manager!r}"
    with pytest.raises(ValueError, match="a secret goes there"):
        Alertmanager("http://alertmanager.example.org", token="s3cret")


def test_a_link_back_is_sent_if_there_is_one(fake: FakeWebhook) -> None:
    Alertmanager(fake.url, generator_url="https://tb.example.org").send(a_notice(), None, ())
    assert posted(fake)[0]["generatorURL"] == "https://tb.example.org"


@pytest.mark.parametrize(
    ("code", "pause", "retryable", "ambiguous"),
    [
        (400, 0.0, False, False),
        (429, 0.0, True, False),
        (503, 0.0, True, True),
        (200, 0.5, True, True),
    ],
)
def test_failures_say_whether_to_retry(
    fake: FakeWebhook, code: int, pause: float, retryable: bool, ambiguous: bool
) -> None:
    fake.answers.append((code, {}, pause))
    with pytest.raises(SendError) as caught:
        Alertmanager(fake.url, timeout=0.2).send(a_notice(), None, ())
    assert (caught.value.retryable, caught.value.ambiguous) == (retryable, ambiguous)
    assert len(fake.bodies) == 1

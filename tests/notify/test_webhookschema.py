"""What is published about a webhook's body is what is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.notify.examples import HOSTILE, a_notice, an_alert, closed
from watcher.model import AlertState, Notice, Severity
from watcher.notify.message import webhook
from watcher.notify.webhookschema import FILE, WebhookAlert, WebhookNotice, schema

PUBLISHED = json.loads(FILE.read_text("utf-8"))


def kinds() -> Iterator[Notice]:
    """Every kind of notice there is."""
    yield a_notice()
    yield a_notice(reason="louder")
    yield a_notice(an_alert(severity=Severity.INFO), reason="repeat interval elapsed")
    for state in (AlertState.RESOLVED, AlertState.ENDED, AlertState.SUPERSEDED):
        yield a_notice(closed(an_alert(), state), reason=str(state))
    yield a_notice(*(an_alert(f"A{i}") for i in range(40)), reason="storm: 40 messages in one")
    yield a_notice(an_alert(), closed(an_alert("B")), reason="resolved; slack cannot be reached")
    nothing = {"onset_step": None, "best_step": None, "fired_step": None, "value": None}
    yield a_notice(an_alert(**nothing, inputs={}, labels={}, advice="", fired_at=None))
    for value in (float("nan"), float("inf"), float("-inf"), 3):
        yield a_notice(an_alert(value=value, advice_key="nan"))
    yield a_notice(an_alert(HOSTILE, run=HOSTILE, labels={HOSTILE: HOSTILE}, reason=HOSTILE))


def test_the_published_file_is_the_models() -> None:
    hint = "run python -m watcher.notify.webhookschema, and think about the version"
    assert FILE.read_text("utf-8") == schema(), hint


@pytest.mark.parametrize("notice", list(kinds()), ids=lambda n: n.reason)
def test_every_kind_of_notice_is_as_published(notice: Notice) -> None:
    body = json.dumps(webhook(notice), allow_nan=False)
    WebhookNotice.model_validate_json(body)
    said = json.loads(body)
    assert list(wrong(said, PUBLISHED)) == []
    assert set(said) == set(WebhookNotice.model_fields)  # all, and nothing unpublished
    for alert in said["alerts"]:
        assert set(alert) == set(WebhookAlert.model_fields)
        assert all(text.isprintable() for text in texts(alert))


def test_what_breaks_the_promise_is_noticed() -> None:
    for change in (
        {"version": 2},
        {"alerts": []},
        {"id": 1},
        {"alerts": [{**webhook(a_notice())["alerts"][0], "severity": "loud"}]},
        {"alerts": [{**webhook(a_notice())["alerts"][0], "value": "nan"}]},
    ):
        assert list(wrong({**webhook(a_notice()), **change}, PUBLISHED))
    assert list(wrong({"version": 1}, PUBLISHED))


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from (name, *texts(one))
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)


KINDS: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "null": type(None),
    "array": list,
    "object": dict,
}


def wrong(value: Any, rule: dict[str, Any], where: str = "body") -> Iterator[str]:
    """Yield what JSON Schema finds wrong with ``value``: as much of it as our file uses."""
    known = {"$ref", "type", "anyOf", "enum", "const", "items", "minItems", "properties"}
    words = {"$defs", "$schema", "title", "description", "required", "additionalProperties"}
    assert set(rule) <= known | words, f"unknown keywords in {set(rule)}"
    if "$ref" in rule:
        yield from wrong(value, PUBLISHED["$defs"][rule["$ref"].rpartition("/")[2]], where)
    if "anyOf" in rule and all(list(wrong(value, one, where)) for one in rule["anyOf"]):
        yield f"{where}: none of the choices"
    if "enum" in rule and value not in rule["enum"]:
        yield f"{where}: not one of {rule['enum']}"
    if "const" in rule and value != rule["const"]:
        yield f"{where}: not {rule['const']}"
    if "type" in rule and not isinstance(value, KINDS[rule["type"]]):
        yield f"{where}: not a {rule['type']}"
        return
    if isinstance(value, list) and len(value) < rule.get("minItems", 0):
        yield f"{where}: too short"
    for one in value if isinstance(value, list) and "items" in rule else ():
        yield from wrong(one, rule["items"], f"{where}[]")
    if isinstance(value, dict):
        yield from (
            f"{where}: no {name}" for name in rule.get("required", ()) if name not in value
        )
        for name, one in value.items():
            inner = rule.get("properties", {}).get(name) or rule.get("additionalProperties") or {}
            yield from wrong(one, inner, f"{where}.{name}")

"""What a message says, and that no name can make it say anything else."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.notify.examples import NOW, a_notice, an_alert, closed
from watcher.model import Alert, AlertState
from watcher.notify.blocks import BUDGET, slack
from watcher.notify.fake_slack import FakeSlack, mentions
from watcher.notify.message import (
    as_json,
    clean,
    clip,
    fill,
    helps,
    lost,
    place,
    plain,
    plain_notice,
    runbook,
    summary,
    webhook,
)

_texts = st.text(max_size=40) | st.text("<!@#*_`~|>&{}\x1b\r\n‮\udcff", max_size=40)


def test_a_line_says_what_where_since_when_and_where_to_go_back_to() -> None:
    assert plain(an_alert()) == (
        "CRITICAL  vision/resnet50  LossIsNaN  train/loss  since step 800, best step 790 (0.2314)"
        ": train/loss became NaN at step 800 and stayed so for 3 points"
    )


def test_a_closing_says_how_it_closed() -> None:
    assert plain(closed(an_alert())).startswith("RESOLVED  ")
    assert plain(closed(an_alert(), AlertState.ENDED)).startswith("ENDED WHILE FIRING  ")


def test_the_attempt_is_named_when_it_is_not_the_first_and_a_root_by_its_path() -> None:
    assert place(an_alert(attempt=2)) == "vision/resnet50 (attempt 3)"
    assert place(an_alert(run=".")) == "/logs"


def test_control_characters_are_shown_not_sent() -> None:
    assert clean("a\x1b[31mb\r\n\t‮\udcff\x9b") == "a\\x1b[31mb\\r\\n\\t\\u202e\\udcff\\x9b"
    assert clean("größe/損失 ok") == "größe/損失 ok"
    assert clip("x" * 10, 5) == "xxxx…"


def test_placeholders_are_filled_and_nothing_else_is_evaluated() -> None:
    alert = an_alert(run="{value.__class__}", labels={"user": "ann"})
    assert fill("{run} {tag} {step} {value} {user}", alert) == (
        "{value.__class__} train/loss 800 7.25 ann"
    )
    assert fill("{nope} {alert.slot} {0} {", alert) == "{nope} {alert.slot} {0} {"


def test_the_rules_summary_stands_before_the_reason() -> None:
    alert = an_alert(annotations={"summary": "{run} is broken since {step}"})
    assert summary(alert) == "vision/resnet50 is broken since 800"
    assert plain(alert).endswith(f": {alert.reason}")  # the line names run and step
    own = replace(alert, detector="expression")
    assert plain(own).endswith(f": vision/resnet50 is broken since 800: {alert.reason}")
    full = replace(own, annotations={"summary": "{run}: {reason}"})
    assert plain(full).endswith(f": {summary(full)}")


def test_the_team_is_the_rules_else_the_one_that_the_path_names() -> None:
    assert fill("{team}", an_alert(team="nlp", labels={"team": "vision"})) == "nlp"
    assert fill("{team}", an_alert(team="", labels={"team": "vision"})) == "vision"


def test_json_has_the_documented_fields_and_is_valid_whatever_the_numbers() -> None:
    documented = [
        *("root", "run", "attempt", "alert", "detector", "severity", "state", "onset_step"),
        *("fired_step", "fired_at", "resolved_step", "best_step", "value", "reason", "advice"),
        *("inputs", "labels"),
    ]
    for value, shown in (
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        (None, None),
        (1.5, 1.5),
    ):
        said = as_json(an_alert(value=value))
        assert list(said) == documented
        assert json.loads(json.dumps(said, allow_nan=False))["value"] == shown


def test_only_what_resolved_has_a_resolved_step() -> None:
    assert as_json(closed(an_alert()))["resolved_step"] == 900
    assert as_json(closed(an_alert(), AlertState.ENDED))["resolved_step"] is None


def test_a_message_that_was_written_at_night_reads_well() -> None:
    blocks = slack(a_notice()).blocks
    assert [block["type"] for block in blocks] == ["header", "section", "section", "context"]
    assert blocks[0]["text"]["text"] == "🔴 Critical: LossIsNaN"
    assert blocks[1]["text"]["text"].startswith("vision/resnet50\ntrain/loss became NaN at")
    assert [f["text"] for f in blocks[2]["fields"]][:2] == [
        "*Since step*\n800",
        "*Best step*\n790 (0.2314)",
    ]


def test_a_runbook_is_a_link_only_if_it_is_a_web_address() -> None:
    def links(url: str) -> list[str]:
        message = slack(a_notice(an_alert(annotations={"runbook": url})))
        return mentions({"text": message.text, "blocks": message.blocks})

    assert links("https://wiki.example/nan?a=1&b=2") == [
        "https://wiki.example/nan?a=1&amp;b=2|Runbook"
    ]
    assert links("javascript:alert(1)") == []
    assert links("https://x|<!here>") == []


def test_old_news_is_told_from_new() -> None:
    def titles(reason: str, *alerts: Alert) -> list[str]:
        blocks = slack(a_notice(*alerts, reason=reason)).blocks
        return [b["text"]["text"] for b in blocks if b["type"] == "header"]

    assert titles("repeat interval elapsed", an_alert()) == ["🔴 Still critical: LossIsNaN"]
    assert titles("louder", an_alert(), closed(an_alert())) == [
        "🔴 Now critical: LossIsNaN",
        "✅ Resolved: LossIsNaN",
    ]


def test_nothing_is_said_twice() -> None:
    alert = an_alert(annotations={"summary": "{run} broke: {reason}"})
    text = slack(a_notice(alert)).blocks[1]["text"]["text"]
    assert text == f"vision/resnet50 broke: {alert.reason}"


@pytest.mark.parametrize("at", [float("nan"), float("inf"), -1e300, 1e300, None])
def test_absurd_times_are_not_shown(at: float | None) -> None:
    assert "Noticed" not in str(slack(a_notice(an_alert(fired_at=at))).blocks)


def test_a_digest_names_as_many_as_can_be_read_and_counts_the_rest() -> None:
    alerts = [an_alert(run=f"run{i}") for i in range(60)]
    message = slack(a_notice(*alerts))
    assert message.blocks[0]["text"]["text"] == "🔴 60 alerts in 60 runs"
    assert "and 35 more" in str(message.blocks)


def test_advice_is_given_while_it_fires_and_a_missing_key_is_no_error() -> None:
    assert helps(an_alert()) == ()
    assert helps(an_alert(advice_key="no such key")) == ()


def _hostile(text: str) -> Alert:
    alert = an_alert(
        alert=text or "A",
        run=text,
        reason=text,
        team=text,
        inputs={"value": text},
        labels={"l": text},
        annotations={"summary": "{run}" + text},
    )
    return replace(alert, slot=replace(alert.slot, run=replace(alert.slot.run, root=text)))


@given(_texts)
def test_no_text_gets_out_of_its_line_or_its_block(text: str) -> None:
    alert = _hostile(text)
    assert plain(alert).isprintable()
    assert all(line.isprintable() for line in plain_notice(a_notice(alert)).split("\n"))
    json.dumps(webhook(a_notice(alert)), allow_nan=False).encode("ascii")
    for notice in (a_notice(alert), a_notice(*[alert] * 9), a_notice(closed(alert))):
        message = slack(notice)
        assert mentions({"text": message.text, "blocks": message.blocks}) == []
        assert sum(len(str(b)) for b in message.blocks) < 3 * BUDGET
        message.text.encode()
        FakeSlack()._check({"text": message.text, "blocks": message.blocks})


def test_every_field_of_an_alert_is_either_shown_or_internal() -> None:
    shown = set(as_json(an_alert())) | {"slot", "fingerprint", "best_value", "annotations", "team"}
    shown |= {"onset_at", "checkpoint"}
    internal = {"shadow", "resolved_at", "advice_key"}
    rest = {f.name for f in fields(Alert)} - shown - internal
    assert all(name.startswith(("active_", "ok_")) for name in rest)


@pytest.mark.parametrize(
    ("labels", "began", "said"),
    [
        ({}, 90 * 60, "1.5 h"),
        ({"gpus": "8"}, 90 * 60, "1.5 h, 12 GPU-hours"),
        ({"gpus": "a few"}, 90 * 60, "1.5 h"),
        ({"gpus": "nan"}, 90 * 60, "1.5 h"),
        ({}, 600, "10 min"),
        ({}, 10, ""),
        ({}, -3600, ""),  # the clocks differ
        ({}, 1e12, ""),
    ],
)
def test_what_was_lost_since_it_began_is_told(
    labels: dict[str, str], began: float, said: str
) -> None:
    alert = an_alert(onset_at=NOW - began, labels=labels)
    assert lost(alert) == said
    assert ("Since it began" in str(slack(a_notice(alert)))) is bool(said)


def test_the_checkpoint_to_go_back_to_is_told_as_text() -> None:
    alert = an_alert(checkpoint="a/checkpoint-500<!channel>")
    assert "Checkpoint: a/checkpoint-500<!channel>" in str(slack(a_notice(alert)).blocks)
    assert "<!channel>" not in slack(a_notice(alert)).text
    assert "go back to: a/checkpoint-500" in plain_notice(a_notice(alert))
    assert webhook(a_notice(alert))["alerts"][0]["checkpoint"] == alert.checkpoint


def test_only_a_plain_web_address_is_a_runbook() -> None:
    assert runbook(an_alert(annotations={"runbook": "https://wiki/nan?a&b"})) != ""
    for address in ("", "javascript:alert(1)", "https://a\x1b[31m", 'https://a"b', "https://a b"):
        assert runbook(an_alert(annotations={"runbook": address})) == ""

"""Names that want to be more than names are plain text wherever they are shown.

Messages are tested over all text in ``test_message.py``; here whole programs meet such names: a
log directory on the disk, the service with its log, every listing, a webhook and Slack.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.logs import write_run
from tests.notify.fake_webhook import FakeWebhook
from watcher.notify.fake_slack import FakeSlack, mentions

NAMES = [
    b"<!channel>",
    b"<@U123> <#C0000000001> <https:x|click>",
    b"`code` *bold* _it_ ~no~",
    b"[link](https:evil.example) @here @channel",
    "right\u202eleft\u2066\u200f".encode(),
    b"n" * 255,
    b"not utf-8 \xff\xfe\xed\xa0\x80",
    b"two\nlines\r\nCRITICAL  forged",
    b"\x1b]0;title\x07\x1b[2J\x1b[31mred",
    "größe 損失".encode(),
]
TAGS = [
    "train/loss",
    "val/loss<!here>\u202e",
    "\x1b[2Jloss\nforged",
    "t" * 10_000,
]
GOOD = [1 / (1 + i / 20) for i in range(40)]
CONFIG = """
state_dir = "state"
catch_up = "3000d"
[[roots]]
path = "logs"
labels = "{{user}}"
[receivers.slack]
type = "slack"
channel = "C0000000001"
token_file = "token"
api_url = "{api}"
[receivers.hook]
type = "webhook"
url = "{hook}"
[receivers.console]
type = "console"
[route]
receiver = "console"
[[route.routes]]
receiver = "slack"
go_on = true
[[route.routes]]
receiver = "hook"
go_on = true
[[route.routes]]
receiver = "console"
"""


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a tree of such runs, all of which went wrong."""
    top = tmp_path_factory.mktemp("hall")
    for name in NAMES:
        where = Path(os.fsdecode(os.fsencode(top / "logs") + b"/" + name))
        write_run(where, {tag: [*GOOD, math.nan, math.nan, math.nan] for tag in TAGS})
    return top


@pytest.fixture(scope="module")
def told(
    hall: Path,
) -> Iterator[tuple[FakeSlack, FakeWebhook, subprocess.CompletedProcess[bytes]]]:
    """Let the service look once and deliver."""
    with FakeSlack() as slack, FakeWebhook() as hook:
        (hall / "token").write_text(slack.token)
        (hall / "token").chmod(0o600)
        (hall / "config.toml").write_text(CONFIG.format(api=slack.api, hook=hook.url))
        done = program("run", "-c", hall / "config.toml", "--once")
        yield slack, hook, done


def program(*words: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "watcher", *map(str, words)],
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


def plain(output: bytes) -> list[str]:
    """Return the lines of an output, none of which may do anything but be read."""
    lines = output.decode("utf-8").split("\n")
    assert all(line.isprintable() for line in lines), [x for x in lines if not x.isprintable()]
    assert not any(line.startswith(("forged", "CRITICAL  forged")) for line in lines)
    return lines


def test_slack_finds_no_mention_no_link_and_no_formatting(told) -> None:  # type: ignore[no-untyped-def]
    slack, _, done = told
    assert len(slack.messages) == len(NAMES), done.stderr
    for message in slack.messages:
        assert mentions(message) == []
        assert message["text"].isprintable()
        assert message["parse"] == "none"
        for block in message["blocks"]:
            if block.get("text", {}).get("type") == "mrkdwn":
                assert not any(word in str(block) for word in ("channel", "bold", "evil", "U123"))


def test_a_webhook_is_valid_utf_8_and_says_no_more_than_it_should(told) -> None:  # type: ignore[no-untyped-def]
    _, hook, _ = told
    bodies = [json.loads(body) for body in hook.bodies]
    assert len(bodies) == len(NAMES)
    for body in bodies:
        assert all(line.isprintable() for line in body["text"].split("\n"))
        for alert in body["alerts"]:
            for text in (
                alert["run"],
                alert["reason"],
                alert["summary"],
                *alert["inputs"].values(),
            ):
                assert text.isprintable()
            assert all(value.isprintable() for value in alert["labels"].values())


def test_the_console_and_the_log_are_lines_of_plain_text(told) -> None:  # type: ignore[no-untyped-def]
    _, _, done = told
    assert len([x for x in plain(done.stdout) if "LossNaN" in x]) >= len(NAMES)
    plain(done.stderr)


@pytest.mark.parametrize("what", ["alerts", "runs", "status"])
def test_listings_are_plain_text_and_their_json_is_json(told, hall: Path, what: str) -> None:  # type: ignore[no-untyped-def]
    config = hall / "config.toml"
    lines = plain(program(what, "-c", config).stdout)
    assert len(lines) > 2
    (text, _) = plain(program(what, "-c", config, "--format", "json").stdout)
    json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8")


def test_a_scan_and_its_explanation_are_plain_text(hall: Path) -> None:
    logs = hall / "logs"
    assert len([x for x in plain(program("scan", logs).stdout) if "LossNaN" in x]) >= len(NAMES)
    for line in plain(program("scan", logs, "--format", "jsonl").stdout)[:-1]:
        json.dumps(json.loads(line), ensure_ascii=False).encode("utf-8")
    explained = plain(program("explain", logs).stdout)
    short = [line for line in explained if "train/loss " in line and " points " in line]
    assert short
    assert max(map(len, short)) < 300


def test_a_terminal_that_knows_ascii_only_is_no_reason_to_fail(hall: Path) -> None:
    done = program("scan", hall / "logs", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert b"Traceback" not in done.stderr, done.stderr[-2000:]
    assert done.stdout.count(b"LossNaN") >= len(NAMES)
    done.stdout.decode("ascii")

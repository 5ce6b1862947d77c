"""``watcher notify-test``: one message through each kind of receiver, and what is said of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.notify.fake_smtp import FakeSmtp
from tests.notify.fake_webhook import FakeWebhook
from watcher.config import Config, load_config
from watcher.errors import InvalidInput, WatcherError
from watcher.notify.fake_slack import FakeSlack, Fault
from watcher.notifytest import send_test

NOW = 1_700_000_000.0


@pytest.fixture
def web() -> Iterator[FakeWebhook]:
    with FakeWebhook() as web:
        yield web


def written(directory: Path, receiver: str, secret: str = "s3cret") -> Path:
    """Write a config with one receiver ``x``; ``{secret}`` in it is a file that holds a secret."""
    file = directory / "secret"
    file.write_text(secret)
    file.chmod(0o600)
    path = directory / "config.toml"
    text = f'roots = [{{path = "/r"}}]\n[receivers.x]\n{receiver}'
    path.write_text(text.replace("{secret}", str(file)))
    return path


def configured(directory: Path, receiver: str, secret: str = "s3cret") -> Config:
    return load_config(written(directory, receiver, secret))


def test_slack_gets_a_message_with_a_chart(tmp_path: Path) -> None:
    with FakeSlack() as slack:
        text = 'type="slack"\nchannel="C0000000001"\ntoken_file="{secret}"\nmention="<!here>"'
        config = configured(tmp_path, f'{text}\napi_url="{slack.api}"', slack.token)
        outcome = send_test(config, "x", NOW, "t")
        assert (outcome.code, outcome.said) == (0, "x (slack): sent with a chart")
        (message,) = slack.messages
        assert "this is a test" in message["text"]
        assert "<!here>" not in json.dumps(message)  # nobody is called for a test
        assert [b["type"] for b in message["blocks"]].count("image") == 1
        slack.faults.append(Fault("error", name="invalid_auth"))
        outcome = send_test(config, "x", NOW, "t")
        assert outcome.code == 1
        assert (
            "put a new one into the token file and restart; correct [receivers.x] in"
            in outcome.said
        )


@pytest.mark.parametrize(
    ("receiver", "said"),
    [
        ('type="webhook"\nurl="{url}"\nsecret_file="{secret}"', "sent"),
        ('type="slack-webhook"\nurl_file="{secret}"', "sent"),
        ('type="alertmanager"\nurl="{url}"', "sent; it ends there in 5 minutes"),
        (
            'type="pagerduty"\nurl="{url}"\nrouting_key_file="{secret}"',
            "sent; resolve its incident there",
        ),
    ],
    ids=lambda text: text.partition('"')[2].partition('"')[0],
)
def test_each_kind_over_http_says_what_came_of_it(
    web: FakeWebhook, tmp_path: Path, receiver: str, said: str
) -> None:
    secret = web.url if "url_file" in receiver else "s3cret"
    config = configured(tmp_path, receiver.replace("{url}", web.url), secret)
    kind = config.receivers["x"].type
    outcome = send_test(config, "x", NOW, "t")
    assert (outcome.code, outcome.said) == (0, f"x ({kind}): {said}")
    assert "this is a test" in web.bodies[0].decode()
    for code, headers, exit_, words in (
        (404, {}, 1, "refused"),
        (503, {}, 2, "not delivered"),
        (429, {"Retry-After": "7"}, 2, "wait 7 s"),
    ):
        web.answers.append((code, headers, 0.0))
        outcome = send_test(config, "x", NOW, "t")
        assert (outcome.code, words in outcome.said) == (exit_, True), outcome.said
        assert "\n" not in outcome.said
        assert not any(s in outcome.said for s in ("s3cret", "very-secret"))


def test_an_alertmanager_forgets_a_test_soon(web: FakeWebhook, tmp_path: Path) -> None:
    config = configured(tmp_path, f'type="alertmanager"\nurl="{web.url}"')
    send_test(config, "x", NOW, "t")
    (alert,) = json.loads(web.bodies[0])
    assert alert["endsAt"] == "2023-11-14T22:18:20.000+00:00"


def test_mail_gets_a_text_and_a_chart(tmp_path: Path) -> None:
    with FakeSmtp() as smtp:
        text = f'type="email"\nhost="localhost"\nport={smtp.port}\nsecurity="plain"'
        text += '\nfrom="w@example.org"\nto=["a@example.org"]'
        assert send_test(configured(tmp_path, text), "x", NOW, "t").said.endswith("with a chart")
        first, second = (got.mail for got in smtp.received)
        assert "WatcherTest" in first["Subject"]
        assert second["In-Reply-To"] == first["Message-ID"]
        outcome = send_test(configured(tmp_path, f"{text}\ncharts=false"), "x", NOW, "t2")
        assert outcome.said == "x (email): sent"


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    config = configured(tmp_path, 'type="webhook"\nurl="http://127.0.0.1:9/"\nsecret_file="no"')
    with pytest.raises(WatcherError, match="secret cannot be read"):
        send_test(config, "x", NOW, "t")
    with pytest.raises(InvalidInput, match=r'no receiver "y"; known: x$'):
        send_test(config, "y", NOW, "t")
    hook = configured(tmp_path, 'type="slack-webhook"\nurl_file="{secret}"', "ftp://s3cret")
    with pytest.raises(WatcherError, match="receiver x: must begin with https") as caught:
        send_test(hook, "x", NOW, "t")
    assert "s3cret" not in str(caught.value)


def cli(*words: object) -> Any:
    command = [sys.executable, "-m", "watcher", "notify-test", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_prints_one_line_and_answers_by_its_exit_code(tmp_path: Path) -> None:
    done = cli("console")
    assert (done.returncode, done.stderr) == (0, "")
    assert "this is a test" in done.stdout
    path = written(tmp_path, 'type="webhook"\nurl="http://127.0.0.1:9/"')
    for name, code, words in (("x", 2, "not delivered"), ("xx", 1, 'no receiver "xx"')):
        done = cli(name, "-c", path)
        assert (done.returncode, done.stdout) == (code, "")
        assert words in done.stderr
        assert done.stderr.count("\n") == 1

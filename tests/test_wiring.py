"""From a config's receivers to what sends."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from watcher.config import parse_config
from watcher.notify.base import Attaches, Notifier
from watcher.receivertext import RECEIVERS
from watcher.wiring import notifiers

EXAMPLE = Path(__file__).parents[1] / "config.example.toml"
STAND_INS = Path(__file__).parent / "notify" / "stand_ins"
SECRET = "s3cret-spy"


@pytest.fixture
def made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, tuple[str, Notifier]]]:
    """Make every receiver of the example, with secrets of ours: its type and what sends."""
    text = EXAMPLE.read_text("utf-8").replace("/etc/watcher/", f"{tmp_path}/")
    text = text.replace("slack-token", "secret").replace("pagerduty-key", "secret")
    config = parse_config(text, tmp_path / "config.toml")
    secrets = {
        "slack-webhook": f"https://{SECRET}.example.org/",
        "apprise-urls": f"spy://{SECRET}",
    }
    for name in ("secret", "hook-secret", "mail-password", *secrets):
        (tmp_path / name).write_text(secrets.get(name, SECRET))
        (tmp_path / name).chmod(0o600)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.syspath_prepend(str(STAND_INS))
    monkeypatch.delitem(sys.modules, "apprise", raising=False)
    types = {name: receiver.type for name, receiver in config.receivers.items()}
    yield {name: (types[name], sender) for name, sender in notifiers(config).items()}
    sys.modules.pop("apprise", None)


def test_the_example_shows_every_type_and_each_can_be_made(
    made: dict[str, tuple[str, Notifier]],
) -> None:
    assert {kind for kind, _ in made.values()} == set(RECEIVERS)
    charted = {kind for kind, sender in made.values() if isinstance(sender, Attaches)}
    assert charted == {"slack", "email"}


def test_none_of_them_shows_its_secret(made: dict[str, tuple[str, Notifier]]) -> None:
    for _, sender in made.values():
        assert SECRET not in repr(sender)

"""How does a config become parts? Plan, source options, receivers: one function each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from watcher.config import Config, Receiver, Root
from watcher.model import RunKey
from watcher.notify.base import Notifier
from watcher.notify.console import Console
from watcher.pipeline import Plan
from watcher.source.logdir import SourceOptions

if TYPE_CHECKING:
    from watcher.notify.socketmode import SocketMode


def plan_of(config: Config, version: int) -> Plan:
    """Return what every tick is asked; InvalidInput with every problem of every pack."""

    def labels(run: RunKey) -> Mapping[str, str]:
        return config.labels_for(run.root, run.run)

    return Plan(
        rules=config.load_rules(),
        pins=config.pins,
        grants=config.grants(),
        labels=labels,
        grouping={root.path: root.grouping for root in config.roots},
        ended_after=config.ended_after,
        version=version,
    )


def source_options(root: Root) -> SourceOptions:
    """Return how a root is read."""
    return SourceOptions(
        symlinks=root.symlinks,
        prune=root.prune,
        corrupt_grace=root.corrupt_grace,
        done_markers=root.done_markers,
    )


def notifiers(config: Config) -> dict[str, Notifier]:
    """Return the receivers by name; WatcherError if a secret cannot be read."""
    owners = {user: f"<@{who}>" for user, who in config.owners.items()}
    return {name: _notifier(receiver, owners) for name, receiver in config.receivers.items()}


def listeners(
    config: Config,
    notifiers: Mapping[str, Notifier],
    clicked: Callable[[Notifier, Mapping[str, Any]], None],
) -> list[SocketMode]:
    """Return a connection for each app whose buttons somebody may press.

    ``clicked`` gets a notifier of that app and what Slack says of the click.
    """
    apps: dict[tuple[str, str], Notifier] = {}
    for name, receiver in config.receivers.items():
        if receiver.app_token is not None:
            apps.setdefault((receiver.app_token.read(), receiver.api_url), notifiers[name])
    if not apps:
        return []
    from watcher.notify.slack import SLACK_API
    from watcher.notify.socketmode import SocketMode

    return [
        SocketMode(token, api or SLACK_API, partial(clicked, notifier))
        for (token, api), notifier in apps.items()
    ]


def _notifier(receiver: Receiver, owners: Mapping[str, str]) -> Notifier:
    if receiver.type == "slack":
        from watcher.notify.slack import SLACK_API, Slack

        assert receiver.token is not None  # the config's model asks for it
        return Slack(
            receiver.token.read(),
            receiver.channel,
            mention=receiver.mention,
            owners=owners,
            timeout=max(1, round(receiver.timeout)),
            api=receiver.api_url or SLACK_API,
            buttons=receiver.app_token is not None,
        )
    if receiver.type == "webhook":
        from watcher.notify.webhook import Webhook

        secret = receiver.secret.read().encode() if receiver.secret else b""
        return Webhook(receiver.url, secret, receiver.timeout)
    return Console()

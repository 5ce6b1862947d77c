"""How does a config become parts? Plan, source options, receivers: one function each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from watcher.config import Config, Loaded, Root
from watcher.errors import InvalidInput, WatcherError
from watcher.model import RunKey
from watcher.notify.base import Notifier
from watcher.notify.console import Console
from watcher.notify.heartbeat import Heartbeat
from watcher.pipeline import Plan
from watcher.receivers import Receiver
from watcher.receivertext import (
    AlertmanagerText,
    AppriseText,
    EmailText,
    PagerDutyText,
    ReceiverText,
    SlackText,
    SlackWebhookText,
    WebhookText,
)
from watcher.source.logdir import SourceOptions

if TYPE_CHECKING:
    from watcher.notify.socketmode import SocketMode


def plan_of(config: Config, version: int, loaded: Loaded | None = None) -> Plan:
    """Return what every tick is asked, by the rules ``loaded``.

    Without them they are read; then InvalidInput with every problem of every pack.
    """
    loaded = loaded or Loaded(config.load_rules(), {}, {})

    def labels(run: RunKey) -> Mapping[str, str]:
        return config.labels_for(run.root, run.run)

    return Plan(
        rules=loaded.rules,
        pins=config.pins,
        grants=config.grants(),
        teams=frozenset(config.teams),
        labels=labels,
        grouping={root.path: root.grouping for root in config.roots},
        ended_after=config.ended_after,
        version=version,
        refused=_told_at(config, loaded),
    )


def _told_at(config: Config, loaded: Loaded) -> dict[str, dict[str, str]]:
    """Say what was refused, team by team, under the first root that each may look at."""
    told: dict[str, dict[str, str]] = {}
    for team, error in loaded.refused.items():
        root = next(iter(config.teams[team].roots or [root.path for root in config.roots]))
        held = any(rule.team == team for rule in loaded.rules)
        until = "its last good rules stay in force" if held else "none of its rules is in force"
        told.setdefault(root, {})[team] = f"{_first(error)}; until that is mended {until}"
    return told


def refusing(plan: Plan, config: Config, error: WatcherError) -> Plan:
    """Return the plan in force, which from now on says why no other is taken."""
    root = config.roots[0].path
    why = f"{_first(error)}; until that is mended the last good one stays in force"
    told = {**plan.refused, root: {**plan.refused.get(root, {}), "": why}}
    return replace(plan, refused=told)


def _first(error: WatcherError) -> str:
    """Name the first of what is wrong, and how much more is."""
    if not isinstance(error, InvalidInput):
        return str(error)
    more = len(error.problems) - 1
    first = str(error.problems[0]).splitlines()[0]  # an expression's has a caret below it
    return f"{first}{f', and {more} more' if more else ''}"


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
    return {name: notifier(receiver, owners) for name, receiver in config.receivers.items()}


def heartbeat(config: Config) -> Heartbeat | None:
    """Return what sends signs of life, None if none are wanted; WatcherError as for receivers."""
    if config.heartbeat is None:
        return None
    try:
        return Heartbeat(config.heartbeat.url.read())
    except ValueError as error:  # says what is wrong with the secret, not what it is
        raise WatcherError(f"heartbeat: its address {error}") from None


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
        if isinstance(receiver.text, SlackText) and "app_token" in receiver.secrets:
            app = receiver.read("app_token"), receiver.text.api_url
            apps.setdefault(app, notifiers[name])
    if not apps:
        return []
    from watcher.notify.slack import SLACK_API
    from watcher.notify.socketmode import SocketMode

    return [
        SocketMode(token, api or SLACK_API, partial(clicked, notifier))
        for (token, api), notifier in apps.items()
    ]


def notifier(receiver: Receiver, owners: Mapping[str, str] | None = None) -> Notifier:
    """Return what sends to a receiver; WatcherError if its secrets are not as they should be.

    Each kind is imported only where it is used: a console needs no Slack.
    """
    try:
        return _notifier(receiver, receiver.text, owners or {})
    except ValueError as error:  # says what is wrong with a secret, not what it is
        raise WatcherError(f"receiver {receiver.name}: {error}") from None


def _notifier(receiver: Receiver, text: ReceiverText, owners: Mapping[str, str]) -> Notifier:
    match text:
        case SlackText():
            from watcher.notify.slack import SLACK_API, Slack

            return Slack(
                receiver.read("token"),
                text.channel,
                mention=text.mention,
                owners=owners,
                timeout=max(1, round(text.timeout)),
                api=text.api_url or SLACK_API,
                buttons="app_token" in receiver.secrets,
            )
        case SlackWebhookText():
            from watcher.notify.slack_webhook import SlackWebhook

            return SlackWebhook(receiver.read("url"), text.mention, text.timeout)
        case WebhookText():
            from watcher.notify.webhook import Webhook

            return Webhook(text.url, receiver.read("secret").encode(), text.timeout)
        case AlertmanagerText():
            from watcher.notify.alertmanager import Alertmanager

            return Alertmanager(
                text.url,
                token=receiver.read("token"),
                username=text.username,
                password=receiver.read("password"),
                expires_after=text.expires_after,
                generator_url=text.generator_url,
                timeout=text.timeout,
            )
        case PagerDutyText():
            from watcher.notify.pagerduty import ENQUEUE, PagerDuty

            return PagerDuty(receiver.read("routing_key"), text.url or ENQUEUE, text.timeout)
        case EmailText():
            from watcher.notify.email import Email

            return Email(
                text.host,
                text.sender,
                text.to,
                port=text.port,
                security=text.security,
                username=text.username,
                password=receiver.read("password"),
                ca_file=text.ca_file,
                charts=text.charts,
                timeout=text.timeout,
            )
        case AppriseText():
            from watcher.notify.apprise import Apprise

            return Apprise(receiver.read("urls"), text.timeout)
    return Console()

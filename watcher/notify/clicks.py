"""What does a click on a button mean? A click in; a deed, or a few words to who clicked, out.

The buttons stand under alerts in Slack. Each carries the id of the notice it stands under, so a
click is understood after a restart as well, and the same click told twice is done once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from watcher.advice import advice
from watcher.alerts import team_of
from watcher.model import Alert, Notice, WallTime
from watcher.notify.blocks import Block, date, escape
from watcher.notify.message import clip, place, plain
from watcher.routing import Deed, Silence

BLOCK = "watcher"  # block_id of our buttons
HOUR = 3600.0
_RUN = 30 * 24 * HOUR  # a silence has an end; no run that is left alone needs a longer one
_LABELS = {
    "acknowledge": "Acknowledge",
    "silence_1h": "Silence 1 h",
    "silence_24h": "Silence 24 h",
    "silence_run": "Silence this run",
    "more": "Show more",
}
_SPANS = {"silence_1h": HOUR, "silence_24h": 24 * HOUR, "silence_run": _RUN}
_USER = re.compile(r"[UW][A-Z0-9]{1,30}")
_MOST_WORDS = 2900  # characters of what is said to one person


@dataclass(frozen=True, slots=True)
class Click:
    """Somebody clicked ``action`` under the notice ``notice_id``. ``id`` is Slack's, unique."""

    id: str
    action: str
    notice_id: str
    user: str
    channel: str
    message: str  # ts of the message the button stands under


@dataclass(frozen=True, slots=True)
class Answer:
    """What comes of a click. ``words`` are for who clicked alone, escaped; "" says nothing."""

    receiver: str = ""
    deed: Deed | None = None
    words: str = ""


class Book(Protocol):
    """What clicks need of the store."""

    def told(self, notice_id: str) -> Notice | None:
        """Return a notice with its alerts as they are now, None if it is not on record."""

    def act(self, deed: Deed, now: WallTime) -> None:
        """Do what a button asks for, in one transaction; the same deed twice is done once."""


def buttons(notice_id: str) -> Block:
    """Return the row of buttons that goes under a notice."""
    return {
        "type": "actions",
        "block_id": BLOCK,
        "elements": [
            {
                "type": "button",
                "action_id": action,
                "text": {"type": "plain_text", "text": label, "emoji": False},
                "value": notice_id,
            }
            for action, label in _LABELS.items()
        ],
    }


def click_of(payload: Mapping[str, Any]) -> Click | None:
    """Read what Slack sends when a button is clicked; None if it is none of ours."""
    try:
        (action,) = payload["actions"]
        user, where = payload["user"]["id"], payload["container"]
        click = Click(
            id=f"{action['action_ts']} {user}",
            action=action["action_id"],
            notice_id=action["value"],
            user=user,
            channel=where["channel_id"],
            message=where["message_ts"],
        )
    except (KeyError, TypeError, ValueError):
        return None
    if action.get("block_id") != BLOCK or click.action not in _LABELS:
        return None
    return click if _USER.fullmatch(user) else None


def handle(
    book: Book, click: Click, members: Mapping[str, frozenset[str]], now: WallTime
) -> Answer:
    """Do what a click asks for, if who clicked may. StoreError passes through, nothing is done.

    ``members`` are the Slack users each team named; a team that named nobody lets everybody act
    who sees the channel.
    """
    notice = book.told(click.notice_id)
    if notice is None:
        return Answer(words="The watcher has no record of this alert any more.")
    answer = respond(notice, click, members, now)
    if answer.deed is not None:
        book.act(answer.deed, now)
    return answer


def respond(
    notice: Notice, click: Click, members: Mapping[str, frozenset[str]], now: WallTime
) -> Answer:
    """Return what comes of a click under ``notice``, whose alerts are as they are now."""
    if team := _closed_to(click.user, notice.alerts, members):
        words = f"Only members of team {team} may do this. Ask one of them, or the operator."
        return Answer(words=escape(words))
    if click.action == "more":
        return Answer(words=_details(notice.alerts))
    alerts = tuple(alert for alert in notice.alerts if alert.open)
    if not alerts:
        return Answer(words="This is over already: nothing is left to be silenced.")
    if click.action == "acknowledge":
        deed = Deed(
            _word(notice, alerts, click, "Acknowledged", now),
            acknowledged=tuple(alert.fingerprint for alert in alerts),
            by=click.user,
        )
        return Answer(notice.receiver, deed)
    until = now + _SPANS[click.action]
    whole_run = click.action == "silence_run"
    silences = tuple(_silence(a, click, now, until, whole_run=whole_run) for a in alerts)
    what = "This run is silenced" if whole_run else "Silenced"
    said = _word(notice, alerts, click, f"{what} until {date(until)}", now)
    unique = {silence.id: silence for silence in silences}
    return Answer(notice.receiver, Deed(said, tuple(unique.values()), by=click.user))


def _closed_to(user: str, alerts: tuple[Alert, ...], members: Mapping[str, frozenset[str]]) -> str:
    """Name the team whose alert this is and which did not name ``user``; "" if there is none."""
    for alert in alerts:
        team = team_of(alert)
        if members.get(team) and user not in members[team]:
            return team
    return ""


def _word(
    notice: Notice, alerts: tuple[Alert, ...], click: Click, what: str, now: WallTime
) -> Notice:
    return replace(
        notice,
        id=_digest("word", click.id, click.action, notice.id),
        alerts=alerts,
        reason=click.action,
        note=f"{what} by <@{click.user}>",
        queued_at=now,
        attempts=0,
        next_attempt_at=now,
    )


def _silence(
    alert: Alert, click: Click, now: WallTime, until: WallTime, *, whole_run: bool
) -> Silence:
    matchers = {
        "root": _literally(alert.root),
        "run": _literally(alert.run),
        "attempt": str(alert.attempt),
    }
    if not whole_run:
        matchers["alert"] = _literally(alert.alert)
    told = _digest("silence", click.id, click.action, repr(sorted(matchers.items())))
    return Silence(told[:12], matchers, now, until, click.user, "by a button in Slack")


def _literally(name: str) -> str:
    """Return a glob that fits this name only; no name holds a NUL, and a leading ! negates."""
    glob = re.sub(r"([*?[])", r"[\1]", name)
    return f"[\x00!]{glob[1:]}" if glob.startswith("!") else glob


def _details(alerts: tuple[Alert, ...]) -> str:
    """Say all there is to say of a few alerts: as they are now, the causes, what helps."""
    lines = []
    for alert in alerts:
        lines.append(plain(alert))
        lines.append(f"run {place(alert)}, found by {alert.detector}")
        lines += [f"{name}: {tag}" for name, tag in alert.inputs.items()]
        if alert.fired_step is not None:
            lines.append(f"noticed at step {alert.fired_step}")
        try:
            known = advice(alert.advice_key)
        except KeyError:
            known = None
        if known:
            lines += [f"often caused by: {text}" for text in known.causes]
            lines += [f"usually helps: {text}" for text in known.helps]
        lines.append("")
    said = "\n".join(escape(clip(line, 500)) for line in lines).strip()
    return said if len(said) <= _MOST_WORDS else said[: said.rindex("\n", 0, _MOST_WORDS)] + "\n…"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:32]

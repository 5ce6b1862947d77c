"""How does a notice look in Slack? Alerts in, blocks out.

Names of runs and tags come from whoever may write to a log directory: they only ever stand in
``plain_text`` objects, which know no mentions, links or formatting; mrkdwn holds nothing but our
own words and numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from watcher.alerts import team_of
from watcher.model import Alert, AlertState, Notice
from watcher.notify.message import (
    MOST_ALERTS,
    MOST_LINES,
    NAME_LIMIT,
    clean,
    clip,
    count,
    helps,
    icon,
    lost,
    number,
    place,
    runbook,
    steps,
    story,
    summary,
    title,
)

Block = dict[str, Any]

SECTION_LIMIT = 3000  # characters of a section
TEXT_LIMIT = 3000  # of the notification text; Slack cuts at 40 000
BUDGET = 10_000  # characters of all blocks together: more is slow to open on a phone
_YEAR_2100 = 4.1e9  # what claims to be later is no time


@dataclass(frozen=True, slots=True)
class SlackMessage:
    """``text`` is what the phone shows on its lock screen; it is escaped, not formatted."""

    text: str
    blocks: list[Block]


def escape(text: str) -> str:
    """Return text in which Slack finds neither a mention nor a link."""
    return clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def slack(
    notice: Notice,
    *,
    mention: str = "",
    image: str = "",
    note: str = "",
    buttons: Block | None = None,
    shown: Sequence[Alert] = (),
) -> SlackMessage:
    """Return a notice as Slack shows it; ``shown`` replaces its alerts when a message is edited.

    ``mention`` is the config's own, already in Slack's form. ``image`` is the id of an uploaded
    file that goes beneath the first alert. ``note`` says what people did about it, in mrkdwn.
    ``buttons`` stand at the end for as long as an alert is open.
    """
    alerts = tuple(shown) or notice.alerts
    reason = "" if shown else notice.reason
    blocks: list[Block] = []
    if len(alerts) > MOST_ALERTS:
        blocks += _digest(notice, alerts)
    else:
        for i, alert in enumerate(alerts):
            blocks += _alert(alert, reason, full=i == 0 or alert.open)
            if i == 0 and image:
                blocks.append(_picture(alert, image))
    if mention:
        blocks.append({"type": "section", "text": _mrkdwn(mention)})
    head = escape(_headline(alerts, reason))
    text = f"{mention} {head}" if mention else head
    blocks = _within(blocks)
    if note:
        blocks.append({"type": "context", "elements": [_mrkdwn(note)]})
    if buttons and any(alert.open for alert in alerts):
        blocks.append(buttons)
    return SlackMessage(text[:TEXT_LIMIT], blocks)


def _headline(alerts: Sequence[Alert], reason: str) -> str:
    """Say the most important on one line, for the lock screen."""
    first = alerts[0]
    if len(alerts) > MOST_ALERTS:
        name = clip(first.alert, NAME_LIMIT)
        return f"{icon(first)} {count(alerts)}, first {name} of {place(first)}"
    more = f" (and {len(alerts) - 1} more)" if len(alerts) > 1 else ""
    at = f" · {steps(first)}" if steps(first) else ""
    said = clip(first.reason or summary(first), 300)
    return f"{title(first, reason)}{more} · {place(first)}{at} · {said}"


def _alert(alert: Alert, reason: str, *, full: bool) -> list[Block]:
    """Header, run and reason, the steps, and what helps while there is something to help."""
    blocks: list[Block] = [
        {"type": "header", "text": _plain(title(alert, reason))},
        {"type": "section", "text": _plain(story(alert))},
    ]
    fields = [_mrkdwn(text) for text in _fields(alert)]
    if fields:
        blocks.append({"type": "section", "fields": fields})
    advised = helps(alert) if full and alert.open else ()
    if advised:
        lines = "\n".join(f"• {clip(text, 300)}" for text in advised[:4])
        blocks.append({"type": "section", "text": _plain(f"What usually helps\n{lines}")})
    return [*blocks, *_small_print(alert)]


def _fields(alert: Alert) -> list[str]:
    """Numbers of our own only: this is mrkdwn."""
    fields = []
    if alert.onset_step is not None:
        fields.append(f"*Since step*\n{alert.onset_step}")
    if alert.best_step is not None:
        value = number(alert.best_value)
        fields.append(f"*Best step*\n{alert.best_step}" + (f" ({value})" if value else ""))
    if alert.state is AlertState.RESOLVED and alert.resolved_step is not None:
        fields.append(f"*Resolved at step*\n{alert.resolved_step}")
    if alert.fired_at is not None and 0 <= alert.fired_at < _YEAR_2100:
        fields.append(f"*Noticed*\n{date(alert.fired_at)}")
    if spent := lost(alert):
        fields.append(f"*Since it began*\n{spent}")
    return fields


def _small_print(alert: Alert) -> list[Block]:
    tags = ", ".join(dict.fromkeys(alert.inputs.values()))
    said = " · ".join(clip(part, 200) for part in (tags, alert.root, team_of(alert)) if part)
    elements = [_plain(said)] if said else []
    if address := runbook(alert):
        elements.append(_mrkdwn(f"<{address.replace('&', '&amp;')}|Runbook>"))
    return [{"type": "context", "elements": elements}] if elements else []


def _digest(notice: Notice, alerts: Sequence[Alert]) -> list[Block]:
    lines = [
        clip(f"{icon(a)} {a.alert} · {place(a)}" + (f" · {steps(a)}" if steps(a) else ""), 250)
        for a in alerts[:MOST_LINES]
    ]
    if len(alerts) > MOST_LINES:
        lines.append(f"and {len(alerts) - MOST_LINES} more: see `watcher alerts`")
    return [
        {"type": "header", "text": _plain(f"{icon(alerts[0])} {count(alerts)}")},
        *(
            {"type": "section", "text": _plain("\n".join(lines[i : i + 10]))}
            for i in range(0, len(lines), 10)
        ),
        {"type": "context", "elements": [_plain(clip(notice.reason, 200))]},
    ]


def _picture(alert: Alert, file_id: str) -> Block:
    text = clip(f"Curves of {place(alert)}, {steps(alert)}", 1000)
    return {"type": "image", "slack_file": {"id": file_id}, "alt_text": text}


def _within(blocks: Sequence[Block]) -> list[Block]:
    """Keep whole blocks up to the budget, in order."""
    kept: list[Block] = []
    size = 0
    for block in blocks:
        size += _length(block)
        if size > BUDGET:
            kept.append({"type": "context", "elements": [_plain("… and more, see the watcher")]})
            break
        kept.append(block)
    return kept


def _length(value: object) -> int:
    if isinstance(value, Mapping):
        return sum(_length(v) for v in value.values())
    if isinstance(value, list):
        return sum(_length(v) for v in value)
    return len(value) if isinstance(value, str) else 0


def _plain(text: str) -> Block:
    return {"type": "plain_text", "text": text[:SECTION_LIMIT], "emoji": False}


def _mrkdwn(text: str) -> Block:
    return {"type": "mrkdwn", "text": text[:SECTION_LIMIT], "verbatim": True}


def date(at: float) -> str:
    """Return a time in mrkdwn. Let each reader's Slack show the time in the reader's own zone."""
    spelled = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"<!date^{int(at)}^{{date_short_pretty}} {{time}}|{spelled}>"

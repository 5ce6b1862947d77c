"""What does a mail say? A notice in, an ``EmailMessage`` out: text, the same as HTML, a chart.

Names come from whoever may write to a log directory: every one is cleaned to a single line, and
escaped in HTML. The mails of one group refer to an id made of the group's key, and to its first
mail, so that a closing lands in the thread of its alert, even if who sends has forgotten it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from html import escape

from watcher.model import Alert, Notice, WallTime
from watcher.notify.base import Receipt
from watcher.notify.message import (
    MOST_ALERTS,
    MOST_LINES,
    clean,
    clip,
    count,
    details,
    helps,
    icon,
    mentioned,
    place,
    plain,
    runbook,
    steps,
    story,
    title,
)

NAME = "The watcher"
_SUBJECT_LIMIT = 180
_LINE_LIMIT = 400
_SAID = frozenset({"run", "what", "reason", "usually helps"})  # details that stand elsewhere
_STYLE = "font-family:sans-serif;font-size:14px"
_CHART = "chart"


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who writes to whom, and when."""

    sender: str
    to: tuple[str, ...]
    now: WallTime

    @property
    def domain(self) -> str:
        """Where the ids of our mails are unique."""
        return self.sender.rpartition("@")[2]


def letter(notice: Notice, thread: Receipt | None, envelope: Envelope) -> EmailMessage:
    """Write what is new; an answer to the group's first mail if ``thread`` is its receipt."""
    told = notice.alerts
    first = told[0]
    name = f"{icon(first)} {count(told)}" if _many(told) else title(first, notice.reason)
    mail = _headed(notice, thread, envelope, f"{name} · {place(first)}")
    if mentioned(notice):
        mail["Importance"] = "high"
    why = f"Why now: {clean(notice.reason)}."
    mail.set_content("\n".join((*_text(told, notice.reason), "", why, "")))
    page = (*_html(told, notice.reason), f"<p><small>{escape(why)}</small></p>")
    mail.add_alternative(_page(page), subtype="html")
    return mail


def picture(
    notice: Notice, first: Receipt, shown: Sequence[Alert], png: bytes, envelope: Envelope
) -> EmailMessage:
    """Write an answer to the group's first mail that shows a chart."""
    alert = shown[0]
    mail = _headed(notice, first, envelope, "", suffix=_CHART)
    said = f"Curves of {place(alert)}" + (f", {steps(alert)}" if steps(alert) else "")
    mail.set_content(f"{said}\n")
    address = _id(f"{notice.id} {_CHART} image", envelope)
    image = f'<img src="cid:{address[1:-1]}" alt="{escape(said)}" style="max-width:100%">'
    mail.add_alternative(_page([f"<p>{escape(said)}</p>", image]), subtype="html")
    html = list(mail.iter_parts())[-1]
    assert isinstance(html, EmailMessage)  # so the policy makes them
    html.add_related(
        png, "image", "png", cid=address, disposition="inline", filename=f"{_CHART}.png"
    )
    return mail


def receipt(mail: EmailMessage) -> Receipt:
    """Return what answers to ``mail`` need to know of it."""
    return {"message_id": str(mail["Message-ID"]), "subject": str(mail["Subject"])}


def _headed(
    notice: Notice, thread: Receipt | None, envelope: Envelope, subject: str, suffix: str = ""
) -> EmailMessage:
    """Return a mail without a body. One subject a thread: some readers go by it."""
    mail = EmailMessage(policy=SMTP)
    origin = _id(f"thread {notice.group_key}", envelope)
    answered = (thread or {}).get("message_id", "")
    if answered:
        subject = f"Re: {(thread or {}).get('subject', '')}"
    # "=?" would begin an encoded word, which is decoded to anything at all
    mail["Subject"] = clip(subject, _SUBJECT_LIMIT).replace("=?", "= ?")
    mail["From"] = Address(NAME, addr_spec=envelope.sender)
    mail["To"] = tuple(Address(addr_spec=address) for address in envelope.to)
    mail["Date"] = format_datetime(datetime.fromtimestamp(envelope.now, UTC))
    mail["Message-ID"] = _id(f"{notice.id} {suffix}", envelope)  # the same over every retry
    if answered:
        mail["In-Reply-To"] = answered
    mail["References"] = f"{origin} {answered}".strip()
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    return mail


def _id(seed: str, envelope: Envelope) -> str:
    digest = hashlib.sha256(seed.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"<{digest}@{envelope.domain}>"


def _many(alerts: Sequence[Alert]) -> bool:
    return len(alerts) > MOST_ALERTS


def _facts(alert: Alert) -> dict[str, str]:
    return {name: text for name, text in details(alert).items() if name not in _SAID}


def _lines(alerts: Sequence[Alert]) -> Iterator[str]:
    for alert in alerts[:MOST_LINES]:
        yield clip(plain(alert), _LINE_LIMIT)
    if len(alerts) > MOST_LINES:
        yield f"and {len(alerts) - MOST_LINES} more: see `watcher alerts`"


def _text(alerts: Sequence[Alert], reason: str) -> Iterator[str]:
    if _many(alerts):
        yield from _lines(alerts)
        return
    for i, alert in enumerate(alerts):
        yield from ("", "") if i else ()
        yield from (title(alert, reason), *story(alert).splitlines(), "")
        yield from (f"{name + ':':12}{text}" for name, text in _facts(alert).items())
        if alert.open and helps(alert):
            yield from ("", "What usually helps:", *(f"- {clean(text)}" for text in helps(alert)))
        if runbook(alert):
            yield from ("", f"Runbook: {runbook(alert)}")


def _html(alerts: Sequence[Alert], reason: str) -> Iterator[str]:
    if _many(alerts):
        yield from (f"<p>{escape(line)}</p>" for line in _lines(alerts))
        return
    for alert in alerts:
        yield f"<h3>{escape(title(alert, reason))}</h3>"
        yield f"<p>{'<br>'.join(escape(line) for line in story(alert).splitlines())}</p>"
        rows = (
            f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>"
            for name, text in _facts(alert).items()
        )
        yield f'<table cellpadding="3" style="{_STYLE}">{"".join(rows)}</table>'
        if alert.open and helps(alert):
            items = "".join(f"<li>{escape(clean(text))}</li>" for text in helps(alert))
            yield f"<p>What usually helps</p><ul>{items}</ul>"
        if runbook(alert):
            yield f'<p><a href="{escape(runbook(alert))}">Runbook</a></p>'


def _page(parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return f'<!DOCTYPE html>\n<html><body style="{_STYLE}">\n{body}\n</body></html>\n'

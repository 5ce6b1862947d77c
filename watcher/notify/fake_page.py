"""How does the stand-in's channel look to a person? Messages in, a page of HTML out."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.45 system-ui,sans-serif;margin:0 auto;max-width:720px;padding:0 12px 48px}
header{position:sticky;top:0;background:Canvas;padding:10px 0;border-bottom:1px solid #8884;
 font-weight:700;z-index:1}
article{padding:12px 0;border-bottom:1px solid #8883;overflow-wrap:anywhere}
article.reply{margin-left:18px;padding-left:12px;border-left:3px solid #8884}
h1{font-size:17px;margin:2px 0 6px}
p{margin:4px 0;white-space:pre-wrap}
.who{font-weight:700}.at,.context,.whisper{color:#777;font-size:13px}
.fields{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:6px 14px}
.fields p{margin:0}
img{max-width:100%;border:1px solid #8884;border-radius:6px;margin-top:6px;background:#fff}
form{display:inline}
button{font:inherit;font-size:13px;margin:6px 6px 0 0;padding:6px 12px;border-radius:6px;
 border:1px solid #8888;background:transparent;color:inherit}
.whisper{border-left:3px solid #c90;padding-left:8px;white-space:pre-wrap}
"""
_DATE = re.compile(r"&lt;!date\^(\d+)\^[^|]*\|([^&]*)&gt;")
_LINK = re.compile(r"&lt;(https?://[^|&]+(?:&amp;[^|&]+)*)\|([^&]*)&gt;")
_USER = re.compile(r"&lt;@([UW][A-Z0-9]+)&gt;")
_BOLD = re.compile(r"\*([^*\n]+)\*")


def page(
    channel: str, messages: Iterable[Mapping[str, Any]], whispers: Iterable[Mapping[str, Any]]
) -> str:
    """Return the channel as a page: threads under their first message, whispers at the end."""
    every = list(messages)
    body = []
    for message in every:
        if "thread_ts" in message:
            continue
        body.append(_article(message))
        body += [_article(m) for m in every if m.get("thread_ts") == message["ts"]]
    body += [
        f'<p class="whisper">Only {_text(w["user"])} sees this: {_text(w["text"])}</p>'
        for w in whispers
    ]
    shown = "".join(body) or '<p class="at">Nothing was posted yet.</p>'
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="refresh" content="5"><title>#{_text(channel)}</title>'
        f"<style>{_STYLE}</style><header># {_text(channel)}</header>{shown}</html>"
    )


def _article(message: Mapping[str, Any]) -> str:
    at = datetime.fromtimestamp(float(message["ts"]), UTC).strftime("%H:%M:%S")
    edited = " (edited)" if message.get("edited") else ""
    kind = ' class="reply"' if "thread_ts" in message else ""
    also = " · also in the channel" if message.get("reply_broadcast") else ""
    blocks = "".join(_block(block, message) for block in message.get("blocks") or ())
    said = blocks or f"<p>{_mrkdwn(message.get('text', ''))}</p>"
    head = f'<span class="who">watcher</span> <span class="at">{at} UTC{edited}{also}</span>'
    return f"<article{kind}>{head}{said}</article>"


def _block(block: Mapping[str, Any], message: Mapping[str, Any]) -> str:
    kind = block["type"]
    if kind == "image":
        file_id, alt = _text(block["slack_file"]["id"]), _text(block["alt_text"])
        return f'<img src="/files/{file_id}" alt="{alt}">'
    if kind == "actions":
        return "".join(_button(element, message) for element in block["elements"])
    if kind == "header":
        return f"<h1>{_object(block['text'])}</h1>"
    if kind == "context":
        said = " ".join(_object(element) for element in block["elements"])
        return f'<p class="context">{said}</p>'
    if "fields" in block:
        cells = "".join(f"<p>{_object(field)}</p>" for field in block["fields"])
        return f'<div class="fields">{cells}</div>'
    return f"<p>{_object(block['text'])}</p>"


def _button(element: Mapping[str, Any], message: Mapping[str, Any]) -> str:
    hidden = {"channel": message["channel"], "ts": message["ts"], "action": element["action_id"]}
    inputs = "".join(
        f'<input type="hidden" name="{name}" value="{_text(value)}">'
        for name, value in hidden.items()
    )
    label = _text(element["text"]["text"])
    return f'<form method="post" action="/press">{inputs}<button>{label}</button></form>'


def _object(text: Mapping[str, Any]) -> str:
    return _mrkdwn(text["text"]) if text["type"] == "mrkdwn" else _text(text["text"])


def _mrkdwn(text: str) -> str:
    """Show dates, links, users and bold as Slack does; the rest is text."""
    said = _text(text)
    said = _DATE.sub(lambda m: m[2], said)
    said = _LINK.sub(lambda m: f'<a href="{m[1]}">{m[2]}</a>', said)
    said = _USER.sub(lambda m: f"<b>@{m[1]}</b>", said)
    said = _BOLD.sub(lambda m: f"<b>{m[1]}</b>", said)
    for entity in ("lt", "gt", "amp"):  # Slack's own escapes, escaped once more
        said = said.replace(f"&amp;{entity};", f"&{entity};")
    return said


def _text(text: object) -> str:
    return html.escape(str(text).encode("utf-8", "backslashreplace").decode())

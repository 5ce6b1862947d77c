"""A strict stand-in for Slack on the loopback interface, for trying the watcher and its tests.

It refuses what Slack refuses (unknown fields, too long texts, malformed blocks, strangers' files)
and can be told to misbehave as Slack sometimes does. It speaks only the methods we use.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl

from watcher.notify.fake_page import page
from watcher.notify.fake_socket import FakeSocket

Message = dict[str, Any]

_POST = {
    "channel", "text", "blocks", "attachments", "thread_ts", "reply_broadcast", "metadata",
    "mrkdwn", "parse", "link_names", "unfurl_links", "unfurl_media", "username", "icon_emoji",
    "icon_url",
}  # fmt: skip
_WHISPER = {"channel", "user", "text", "blocks", "thread_ts", "parse", "link_names"}
_UPDATE = {"channel", "ts", "text", "blocks", "attachments", "metadata", "parse", "link_names"}
_TEXT_LIMITS = {"header": 150, "section": 3000, "field": 2000, "context": 3000}
_MENTION = re.compile(r"<(![a-z]+[^>]*|[@#][A-Z0-9]+[^>]*|https?://[^>]+)>")


class Refusal(Exception):
    """An answer ``{"ok": false}`` with Slack's code."""


@dataclass(slots=True)
class Fault:
    """How the next call goes wrong.

    ``kind``: ``status`` (answer ``code``, with ``retry_after``), ``error`` (refuse with ``name``),
    ``hang`` (do it, answer after ``seconds``), ``drop`` (close without doing anything),
    ``drop_after`` (do it, close without an answer), ``garbage`` (a proxy's page).
    """

    kind: str
    code: int = 500
    name: str = ""
    seconds: float = 0.0
    retry_after: int | None = None
    method: str = "chat.postMessage"


@dataclass(slots=True)
class FakeSlack:
    """Use as a context manager. ``channels`` maps ids to names; the bot is in all of them."""

    token: str = "xoxb-fake"
    app_token: str = "xapp-fake"
    scopes: str = "chat:write,files:write,files:read,channels:history,groups:history"
    channels: dict[str, str] = field(default_factory=lambda: {"C0000000001": "alerts"})
    port: int = 0
    on_message: Callable[[Message], None] = lambda message: None
    on_refusal: Callable[[str, str], None] = lambda method, why: None
    messages: list[Message] = field(default_factory=list)
    whispers: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    down: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    _clock: itertools.count[int] = field(default_factory=itertools.count)
    _server: ThreadingHTTPServer | None = None
    _socket: FakeSocket | None = None

    def __enter__(self) -> FakeSlack:
        """Start serving."""
        handler = type("Handler", (_Handler,), {"slack": self})
        self._server = _Server(("127.0.0.1", self.port), handler)
        self._server.daemon_threads = True
        self._socket = FakeSocket()
        self.port = self._server.server_address[1]
        serve = self._server.serve_forever
        threading.Thread(target=serve, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        if self._socket is not None:
            self._socket.close()

    @property
    def socket(self) -> FakeSocket:
        """The connections of Socket Mode."""
        assert self._socket is not None, "not serving"
        return self._socket

    @property
    def api(self) -> str:
        """The address to use in Slack's place."""
        return f"http://127.0.0.1:{self.port}/api/"

    def texts(self) -> list[str]:
        """Return the texts of all messages, oldest first."""
        return [message["text"] for message in self.messages]

    def press(self, ts: str, action_id: str, user: str = "U0000000001") -> bool:
        """Press a button of a message; whether an app took the click in time."""
        message = next(m for m in self.messages if m["ts"] == ts)
        rows = [b for b in message.get("blocks") or () if b["type"] == "actions"]
        block, button = next(
            (row, b) for row in rows for b in row["elements"] if b["action_id"] == action_id
        )
        where = {"channel_id": message["channel"], "message_ts": ts, "type": "message"}
        action = {
            "action_id": action_id,
            "block_id": block["block_id"],
            "type": "button",
            "text": button["text"],
            "value": button["value"],
            "action_ts": f"{time.time():.6f}",
        }
        payload = {
            "type": "block_actions",
            "user": {"id": user, "username": "somebody", "team_id": "T0000000001"},
            "container": where,
            "channel": {"id": message["channel"], "name": self.channels[message["channel"]]},
            "message": message,
            "actions": [action],
        }
        return self.socket.press(json.loads(json.dumps(payload)))

    def html(self) -> str:
        """Return the channel as a person would see it."""
        with self.lock:
            return page(next(iter(self.channels.values())), self.messages, self.whispers)

    # ---------------------------------------------------------------- methods

    def answer(self, method: str, given: dict[str, Any]) -> dict[str, Any]:
        """Do what ``method`` does, or raise ``Refusal``."""
        known = {
            "apps.connections.open": self._open,
            "auth.test": self._auth_test,
            "chat.postEphemeral": self._whisper,
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "conversations.history": self._history,
            "conversations.replies": self._replies,
            "files.getUploadURLExternal": self._upload_url,
            "files.completeUploadExternal": self._complete,
            "files.info": self._info,
        }
        if method not in known:
            raise Refusal("unknown_method")
        with self.lock:
            return {"ok": True, **known[method](given)}

    def _auth_test(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"user": "watcher", "team": "fake", "bot_id": "B1"}

    def _open(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"url": self.socket.open()}

    def _whisper(self, given: dict[str, Any]) -> dict[str, Any]:
        _only(given, _WHISPER)
        self._channel(given)
        self._check(given)
        if not given["user"].startswith(("U", "W")):
            raise Refusal("user_not_in_channel")
        self.whispers.append(given)
        return {"message_ts": f"{time.time():.6f}"}

    def _post(self, given: dict[str, Any]) -> dict[str, Any]:
        _only(given, _POST)
        channel = self._channel(given, by_name=True)
        self._check(given)
        if "thread_ts" in given:
            self._message(channel, given["thread_ts"])
        now, tick = int(time.time()), next(self._clock)
        message = {**given, "channel": channel, "ts": f"{now}.{tick:06d}"}
        self.messages.append(message)
        self.on_message(message)
        return {"channel": channel, "ts": message["ts"], "message": message}

    def _update(self, given: dict[str, Any]) -> dict[str, Any]:
        _only(given, _UPDATE)
        message = self._message(self._channel(given), given.get("ts"))
        self._check(given)
        message |= {**given, "edited": True}
        self.on_message(message)
        return {"channel": message["channel"], "ts": message["ts"], "text": message["text"]}

    def _history(self, given: dict[str, Any]) -> dict[str, Any]:
        channel, oldest = self._channel(given), float(given.get("oldest", 0))
        found = [
            m
            for m in reversed(self.messages)
            if m["channel"] == channel
            and float(m["ts"]) >= oldest
            and ("thread_ts" not in m or m.get("reply_broadcast"))
        ]
        return self._page(found, given)

    def _replies(self, given: dict[str, Any]) -> dict[str, Any]:
        channel, ts = self._channel(given), given.get("ts")
        self._message(channel, ts)
        found = [
            m
            for m in self.messages
            if m["channel"] == channel and ts in (m["ts"], m.get("thread_ts"))
        ]
        return self._page(found, given)

    def _page(self, found: list[Message], given: dict[str, Any]) -> dict[str, Any]:
        at, size = int(given.get("cursor") or 0), int(given.get("limit") or 100)
        hidden = () if given.get("include_all_metadata") else ("metadata",)
        shown = [{k: v for k, v in m.items() if k not in hidden} for m in found[at : at + size]]
        cursor = str(at + size) if at + size < len(found) else ""
        return {"messages": shown, "response_metadata": {"next_cursor": cursor}}

    def _upload_url(self, given: dict[str, Any]) -> dict[str, Any]:
        file_id = f"F{next(self._clock):09d}"
        self.files[file_id] = {"length": int(given["length"]), "name": given["filename"]}
        return {"file_id": file_id, "upload_url": f"{self.api[:-5]}/upload/{file_id}"}

    def upload(self, file_id: str, data: bytes) -> None:
        """Take the bytes of a file, of exactly the length announced."""
        if file_id not in self.files or len(data) != self.files[file_id]["length"]:
            raise Refusal("upload_failed")
        self.files[file_id]["data"] = data

    def _complete(self, given: dict[str, Any]) -> dict[str, Any]:
        for file in given.get("files") or ():
            if "data" not in self.files.get(file["id"], {}):
                raise Refusal("file_not_found")
            self.files[file["id"]]["looks"] = 0
        return {"files": given["files"]}

    def _info(self, given: dict[str, Any]) -> dict[str, Any]:
        file = self.files.get(given.get("file", ""))
        if file is None or "looks" not in file:
            raise Refusal("file_not_found")
        file["looks"] += 1
        return {"file": {"mimetype": "image/png" if file["looks"] > 1 else ""}}

    # ---------------------------------------------------------------- checks

    def _channel(self, given: dict[str, Any], *, by_name: bool = False) -> str:
        asked = str(given.get("channel", ""))
        for channel, name in self.channels.items():
            if asked == channel or (by_name and asked.removeprefix("#") == name):
                return channel
        raise Refusal("channel_not_found")

    def _message(self, channel: str, ts: object) -> Message:
        for message in self.messages:
            if message["channel"] == channel and message["ts"] == ts:
                return message
        raise Refusal("message_not_found")

    def _check(self, given: dict[str, Any]) -> None:
        text = given.get("text", "")
        if not text and not given.get("blocks"):
            raise Refusal("no_text")
        if len(text) > 40_000:
            raise Refusal("msg_too_long")
        if len(given.get("blocks") or ()) > 50:
            raise Refusal("invalid_blocks")
        for block in given.get("blocks") or ():
            self._check_block(block)
        metadata = given.get("metadata")
        if metadata is not None and set(metadata) != {"event_type", "event_payload"}:
            raise Refusal("invalid_metadata_format")

    def _check_block(self, block: dict[str, Any]) -> None:
        kind = block.get("type", "")
        if kind == "actions":
            _check_buttons(block.get("elements", ()))
            return
        if kind == "image":
            file = self.files.get((block.get("slack_file") or {}).get("id", ""), {})
            if file.get("looks", 0) < 2 or not block.get("alt_text"):
                raise Refusal("invalid_blocks")
            return
        if kind not in ("header", "section", "context"):
            raise Refusal("invalid_blocks")
        texts = [(kind, block["text"])] if "text" in block else []
        texts += [("field", text) for text in block.get("fields", ())]
        texts += [("context", text) for text in block.get("elements", ())]
        if not texts or len(block.get("fields", ())) > 10 or len(block.get("elements", ())) > 10:
            raise Refusal("invalid_blocks")
        for place, text in texts:
            _check_text(place, text)


def _check_buttons(elements: list[dict[str, Any]]) -> None:
    ids = {element.get("action_id") for element in elements}
    if not 0 < len(elements) <= 25 or len(ids) != len(elements):
        raise Refusal("invalid_blocks")
    for element in elements:
        label = element.get("text") or {}
        if element.get("type") != "button" or label.get("type") != "plain_text":
            raise Refusal("invalid_blocks")
        if not 0 < len(label["text"]) <= 75 or len(element.get("value", "")) > 2000:
            raise Refusal("invalid_blocks")


def _check_text(place: str, text: dict[str, Any]) -> None:
    kind, said = text.get("type"), text.get("text", "")
    allowed = {"plain_text": {"type", "text", "emoji"}, "mrkdwn": {"type", "text", "verbatim"}}
    if kind not in allowed or not set(text) <= allowed[kind]:
        raise Refusal("invalid_blocks")
    if place == "header" and kind != "plain_text":
        raise Refusal("invalid_blocks")
    if not 0 < len(said) <= _TEXT_LIMITS[place]:
        raise Refusal("invalid_blocks")


def mentions(message: Message) -> list[str]:
    """Return the mentions and links that Slack would act on in a message."""
    texts = [message.get("text", "")]
    for block in message.get("blocks") or ():
        every = [block.get("text"), *block.get("fields", ()), *block.get("elements", ())]
        texts += [t["text"] for t in every if t and t["type"] == "mrkdwn"]
    return [found for text in texts for found in _MENTION.findall(text) if found[:5] != "!date"]


def _only(given: dict[str, Any], allowed: set[str]) -> None:
    if not set(given) <= allowed:
        raise Refusal("invalid_arguments")


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over clients that went away; they may have been killed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    slack: FakeSlack
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.strip("/")
        file = self.slack.files.get(path.removeprefix("files/"), {})
        if not path:
            self._say(200, self.slack.html().encode(), kind="text/html")
        elif "data" in file:
            self._say(200, file["data"], kind="image/png")
        else:
            self._say(404, b"")

    def _press(self, body: bytes) -> None:
        """Press a button by the page, then show the page again."""
        given = dict(parse_qsl(body.decode()))
        try:
            self.slack.press(given["ts"], given["action"])
        except (KeyError, StopIteration):
            self._say(404, b"no such button")
            return
        self.send_response(303)
        self.send_header("Location", "/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body, path = self.rfile.read(length), self.path.strip("/")
        if path == "press":
            self._press(body)
            return
        if path.startswith("upload/"):
            try:
                self.slack.upload(path.removeprefix("upload/"), body)
            except Refusal:
                self._say(400, b"")
            else:
                self._say(200, b"OK")
            return
        method = path.removeprefix("api/")
        self.slack.calls.append(method)
        self._call(method, body)

    def _call(self, method: str, body: bytes) -> None:
        faults = self.slack.faults
        fault = faults.popleft() if faults and faults[0].method == method else None
        if self.slack.down or (fault and fault.kind == "drop"):
            self.close_connection = True
            return
        if fault and fault.kind in ("status", "garbage"):
            said = b"<html>a proxy's page</html>" if fault.kind == "garbage" else b'{"ok":false}'
            code = fault.code if fault.kind == "status" else 200
            kind = "text/html" if fault.kind == "garbage" else "application/json"
            self._say(code, said, fault.retry_after, kind=kind)
            return
        if fault and fault.kind == "error":
            self._say(200, json.dumps({"ok": False, "error": fault.name}).encode())
            return
        answer = self._answer(method, body)
        if fault and fault.kind == "hang":
            time.sleep(fault.seconds)
        if fault and fault.kind in ("drop_after", "hang"):
            self.close_connection = True
            return
        if not answer["ok"]:
            self.slack.on_refusal(method, answer["error"])
        self._say(200, json.dumps(answer).encode())

    def _answer(self, method: str, body: bytes) -> dict[str, Any]:
        app_wide = method == "apps.connections.open"
        token = self.slack.app_token if app_wide else self.slack.token
        if self.headers.get("Authorization") != f"Bearer {token}":
            return {"ok": False, "error": "invalid_auth"}
        try:
            if "json" in (self.headers.get("Content-Type") or ""):
                given = json.loads(body or b"{}")
            else:
                given = dict(parse_qsl(body.decode()))
            return self.slack.answer(method, given)
        except Refusal as refusal:
            return {"ok": False, "error": str(refusal)}
        except (KeyError, TypeError, ValueError):
            return {"ok": False, "error": "invalid_arguments"}

    def _say(
        self,
        code: int,
        body: bytes,
        retry_after: int | None = None,
        *,
        kind: str = "application/json",
    ) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind if kind == "image/png" else f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-OAuth-Scopes", self.slack.scopes)
        if retry_after is not None:
            self.send_header("Retry-After", str(retry_after))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the messages are what is of interest."""

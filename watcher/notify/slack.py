"""Sends notices to a Slack channel by a bot token. slack-sdk enters here and nowhere else.

One thread a group (by default: a run). The first message stands in the channel; what is new goes
into its thread, and is shown in the channel as well when something got worse. When an alert
closes, the first message is edited to say so. Every message carries the notice's id as metadata,
by which it is found again when a failure left open whether it arrived.
"""

from __future__ import annotations

import http.client
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError

from watcher.model import Alert, AlertState, Notice, Severity
from watcher.notify.base import Receipt, SendError, seconds
from watcher.notify.blocks import SlackMessage, slack
from watcher.notify.clicks import buttons
from watcher.notify.message import clip, mentioned, place
from watcher.notify.pace import Pace
from watcher.routing import FIRST, LOUDER

EVENT = "watcher_notice"  # type of our metadata
_PAGE = 200  # messages a page when looking for ours
_MOST_PAGES = 10
_CLOCKS_APART = 3600.0  # seconds that Slack's clock and ours may differ
_MOST_MENTIONS = 10  # people that one message calls
_MOST_NOTES = 5  # lines of what people did about an alert
_WHY_LIMIT = 200  # characters of what an error quotes
_SCOPES = {
    "chat:write": "alerts",
    "files:write": "charts",
    "files:read": "when a chart can be shown",
    "channels:history": "whether a message arrived after a lost answer",
}
_EDITS = "edits"  # the lane of the pace that they have for themselves
_SHORT = 0.4  # seconds that a chart may keep the next alert waiting

_RETRYABLE = frozenset(
    {
        "ratelimited",
        "rate_limited",
        "message_limit_exceeded",
        "service_unavailable",
        "internal_error",
        "fatal_error",
        "request_timeout",
        "team_added_to_org",
    }
)
_AMBIGUOUS = frozenset({"service_unavailable", "internal_error", "fatal_error", "request_timeout"})
_TOO_RICH = frozenset(
    {"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long"}
)
_THREAD_GONE = frozenset({"thread_not_found", "message_not_found", "cannot_reply_to_message"})
_NEXT_STEP = {
    "invalid_auth": "the bot token is not valid; put a new one into the token file and restart",
    "not_authed": "there is no bot token; put one into the token file and restart",
    "token_revoked": "the bot token was revoked; install the app again",
    "token_expired": "the bot token expired; put a new one into the token file and restart",
    "account_inactive": "the bot was removed; install the app again",
    "channel_not_found": "no such channel, or a private one; give its id and invite the bot",
    "not_in_channel": "the bot is not in the channel; invite it",
    "is_archived": "the channel is archived; choose another one",
    "missing_scope": "the app lacks a scope; see the app manifest",
}
# of the token or the channel: no message would get through
_SETUP = frozenset(_NEXT_STEP) | {
    "access_denied",
    "ekm_access_denied",
    "enterprise_is_restricted",
    "no_permission",
    "not_allowed_token_type",
    "org_login_required",
    "restricted_action",
    "restricted_action_read_only_channel",
    "restricted_action_thread_only_channel",
    "team_access_not_granted",
    "two_factor_setup_required",
}

# slack-sdk would log whole requests at debug level, and each failure once more
_silent = logging.getLogger(f"{__name__}.sdk")
_silent.setLevel(logging.CRITICAL)
_log = logging.getLogger(__name__)

SLACK_API = WebClient.BASE_URL


@dataclass(frozen=True, slots=True)
class Slack:
    """``channel`` is the channel's id (C…); a name works, but then nothing can be looked up.

    ``mention`` goes with the first news of something critical, in Slack's own form (``<!here>``);
    ``owners`` maps a run's label ``user`` to who is mentioned from a warning on.
    ``timeout`` is in seconds, ``api`` Slack's address or that of a stand-in. ``buttons``: somebody
    listens for clicks.
    """

    token: str = field(repr=False)
    channel: str
    mention: str = ""
    owners: Mapping[str, str] = field(default_factory=dict)
    timeout: int = 10
    api: str = SLACK_API
    buttons: bool = False
    pace: Pace = field(default_factory=Pace, repr=False, compare=False)
    _uploaded: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    # ---------------------------------------------------------------- sending

    def send(self, notice: Notice, thread: Receipt | None, shown: tuple[Alert, ...]) -> Receipt:
        """Post the first message of a group, or what is new into its thread.

        1. Without a thread, or if it is gone or in another channel: post, and that is the receipt.
        2. Else edit the first message to what is true now. Harmless to repeat.
        3. Reply in the thread; to the channel as well if something began or became louder.

        A notice with a note says nothing new: the note goes into the first message.
        """
        if notice.note and (thread := self._ours(thread)) is not None:
            noted = {**thread, "note": _with(thread.get("note", ""), notice.note)}
            self._edit(notice, noted, shown)
            return noted
        row = buttons(notice.id) if self.buttons else None
        message = slack(notice, mention=self._mention(notice), note=notice.note, buttons=row)
        thread = self._ours(thread)
        if thread is None:
            return self._first(notice, message)
        if {alert.fingerprint for alert in notice.alerts} & {alert.fingerprint for alert in shown}:
            self._edit(notice, thread, shown)
        loud = any(reason in notice.reason for reason in (FIRST, LOUDER))
        reply = {"thread_ts": thread["ts"], "reply_broadcast": loud}
        try:
            self._post(notice, message, thread["channel"], **reply)
        except _Refused as error:
            if error.code not in _THREAD_GONE:
                raise
            _log.warning("thread is gone notice=%s reason=%s action=sent anew", notice.id, error)
            return self._first(notice, message)
        return thread

    def find(self, notice: Notice, thread: Receipt | None) -> Receipt | None:
        """Look through the channel or thread for the message that carries the notice's id."""
        thread = self._ours(thread)
        channel = thread["channel"] if thread else self.channel
        since = f"{notice.queued_at - _CLOCKS_APART:.6f}"
        method, where = "conversations.history", {"channel": channel, "oldest": since}
        if thread:
            method, where = "conversations.replies", {"channel": channel, "ts": thread["ts"]}
        cursor = ""
        for _ in range(_MOST_PAGES):
            asked = {**where, "limit": _PAGE, "include_all_metadata": True}
            answer = self._call(method, params={**asked, "cursor": cursor} if cursor else asked)
            for message in answer.get("messages") or ():
                said = message.get("metadata") or {}
                if (said.get("event_payload") or {}).get("id") == notice.id:
                    return thread or self._receipt(notice, channel, message)
            cursor = (answer.get("response_metadata") or {}).get("next_cursor") or ""
            if not cursor:
                break
        return None

    def attach(
        self, notice: Notice, receipt: Receipt, shown: tuple[Alert, ...], png: bytes
    ) -> Receipt:
        """Upload a picture in Slack's three steps and put it into the first message."""
        file_id = self._uploaded.get(notice.id) or self._upload(
            png, f"{place(notice.alerts[0])}.png"
        )
        self._uploaded[notice.id] = file_id
        if not self._processed(file_id):
            raise SendError("slack: still processing the picture", retryable=True, retry_after=1.0)
        pictured = {**receipt, "file": file_id}
        self._edit(notice, pictured, shown)
        self._uploaded.pop(notice.id, None)
        return pictured

    def busy(self) -> bool:
        """Whether a picture would have to wait for other edits: alerts may come meanwhile."""
        return self.pace.pause(_EDITS) > _SHORT

    def whisper(self, channel: str, user: str, words: str) -> None:
        """Say something to one person in a channel. ``words`` are escaped already."""
        said = {"channel": channel, "user": user, "text": words, "parse": "none"}
        self._call("chat.postEphemeral", json={**said, "link_names": False})

    # ---------------------------------------------------------------- calling

    def _mention(self, notice: Notice) -> str:
        said = [self.mention] if mentioned(notice) else []
        if notice.reason in (FIRST, LOUDER) or notice.reason.startswith("storm"):
            firing = [a for a in notice.alerts if a.state is AlertState.FIRING]
            loud = [a for a in firing if a.severity is not Severity.INFO]
            said += [self.owners.get(a.labels.get("user", ""), "") for a in loud]
        return " ".join(list(dict.fromkeys(word for word in said if word))[:_MOST_MENTIONS])

    def _ours(self, thread: Receipt | None) -> Receipt | None:
        """Return a thread if it is one in the channel that this receiver posts to by now."""
        if thread is None or "ts" not in thread:  # of what this receiver was before
            return None
        named = self.channel[:1] not in ("C", "G", "D")  # then only Slack knows its id
        same = thread.get("asked", self.channel if named else thread["channel"]) == self.channel
        return thread if same else None

    def _first(self, notice: Notice, message: SlackMessage) -> Receipt:
        answer = self._post(notice, message, self.channel)
        return self._receipt(notice, str(answer["channel"]), answer)

    def _receipt(self, notice: Notice, channel: str, message: Mapping[str, Any]) -> Receipt:
        ts = str(message["ts"])
        return {"channel": channel, "ts": ts, "id": notice.id, "asked": self.channel}

    def _post(
        self, notice: Notice, message: SlackMessage, channel: str, **more: object
    ) -> dict[str, Any]:
        self.pace.wait()
        body = {
            **_body(message, channel, notice.id),
            "mrkdwn": False,
            "unfurl_links": False,
            "unfurl_media": False,
            **more,
        }
        return self._rich_or_plain("chat.postMessage", body)

    def _edit(self, notice: Notice, first: Receipt, shown: tuple[Alert, ...]) -> None:
        self.pace.wait(_EDITS)
        message = slack(
            notice,
            shown=shown,
            image=first.get("file", ""),
            note=first.get("note", ""),
            buttons=buttons(first["id"]) if self.buttons else None,
        )
        body = {**_body(message, first["channel"], first["id"]), "ts": first["ts"]}
        try:
            self._rich_or_plain("chat.update", body)
        except SendError as error:
            # gone, or too old to edit: what is new is said in a reply all the same
            if error.retryable:
                raise
            _log.warning("first message not edited notice=%s reason=%s", notice.id, error)

    def _rich_or_plain(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send without blocks if Slack does not like them: a plain alert is better than none."""
        try:
            return self._call(method, json=body)
        except SendError as error:
            if not isinstance(error, _Refused) or error.code not in _TOO_RICH:
                raise
            _log.warning("blocks refused method=%s reason=%s action=sent as text", method, error)
        return self._call(method, json={**body, "blocks": []})

    def _upload(self, png: bytes, name: str) -> str:
        """Ask for a place, put the bytes there, say so; Slack then has to process them."""
        asked = {"filename": name, "length": len(png)}
        where = self._call("files.getUploadURLExternal", params=asked)
        file_id, url = str(where["file_id"]), str(where["upload_url"])
        if urlsplit(url).scheme != urlsplit(self.api).scheme:  # https, but for a stand-in
            raise SendError("slack: the upload's address is not a safe one", retryable=False)
        request = Request(url, png, {"Content-Type": "application/octet-stream"}, method="POST")
        try:
            with urlopen(request, timeout=self.timeout) as answer:
                answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise SendError(f"slack: upload failed ({error})", retryable=True) from None
        titled = {"files": [{"id": file_id, "title": name}]}
        self._call("files.completeUploadExternal", json=titled)
        return file_id

    def _processed(self, file_id: str) -> bool:
        """Whether a picture can be shown; waits for a moment only, as alerts may come."""
        for _ in range(2):
            info = self._call("files.info", params={"file": file_id}).get("file") or {}
            if info.get("mimetype"):
                return True
            time.sleep(_SHORT / 2)
        return False

    def lacks(self) -> str:
        """Return the scopes that the token does not have, and what each is for; "" if none.

        ``SendError`` if Slack refuses the token, or cannot be asked.
        """
        try:
            answer = self._client().api_call("auth.test")
        except SlackApiError as error:
            raise _refused("auth.test", error) from None
        except (OSError, http.client.HTTPException, SlackClientError) as error:
            why = clip(f"{type(error).__name__}: {error}", _WHY_LIMIT)
            raise SendError(f"slack auth.test: no answer ({why})", retryable=True) from None
        said = {name.lower(): value for name, value in (answer.headers or {}).items()}
        granted = {scope.strip() for scope in said.get("x-oauth-scopes", "").split(",")}
        missing = [f"{scope} ({use})" for scope, use in _SCOPES.items() if scope not in granted]
        return ", ".join(missing)

    def _client(self) -> WebClient:
        return WebClient(
            self.token, base_url=self.api, timeout=self.timeout, retry_handlers=[], logger=_silent
        )

    def _call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Call once; every way to fail becomes a ``SendError`` without a secret in it."""
        try:
            answer = self._client().api_call(method, **arguments)
        except SlackApiError as error:
            raise _refused(method, error) from None
        except URLError as error:  # not even the request got through
            raise SendError(f"slack {method}: {error.reason}", retryable=True) from None
        except (OSError, http.client.HTTPException, SlackClientError) as error:
            why = clip(f"{type(error).__name__}: {error}", _WHY_LIMIT)  # may quote what came back
            text = f"slack {method}: no answer ({why})"
            raise SendError(text, retryable=True, ambiguous=True) from None
        return answer.data if isinstance(answer.data, dict) else {}


class _Refused(SendError):
    """Slack answered and said why not."""

    code = ""


def _refused(method: str, error: SlackApiError) -> _Refused:
    response = error.response
    status = int(getattr(response, "status_code", 0) or 0)
    code = str(response.get("error") or "")
    garbled = not code or " " in code  # a proxy's page instead of an answer
    limited, broken = status == 429, status >= 500 or garbled
    if broken:
        code = f"HTTP {status}"
    headers = getattr(response, "headers", {}) or {}
    refused = _Refused(
        f"slack {method}: {_NEXT_STEP.get(code, code)}",
        retryable=limited or broken or code in _RETRYABLE,
        retry_after=seconds(headers.get("Retry-After")),
        ambiguous=not limited and (broken or code in _AMBIGUOUS),
        setup=not broken and code in _SETUP,
    )
    refused.code = code
    return refused


def _with(notes: str, note: str) -> str:
    """Add a line to the notes of a message, the same one only once; the oldest go first."""
    lines = [line for line in notes.split("\n") if line and line != note]
    return "\n".join([*lines, note][-_MOST_NOTES:])


def _body(message: SlackMessage, channel: str, notice_id: str) -> dict[str, Any]:
    """A message in which Slack looks for no links or names, and which can be found again."""
    return {
        "channel": channel,
        "text": message.text,
        "blocks": message.blocks,
        "parse": "none",
        "link_names": False,
        "metadata": {"event_type": EVENT, "event_payload": {"id": notice_id}},
    }

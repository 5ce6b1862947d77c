"""Posts notices to a Slack incoming webhook: what is left of Slack without a bot token.

Text and blocks only. A webhook knows neither threads nor edits nor pictures, so a closing is a
message of its own, and one that may have arrived cannot be looked up before it is sent again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from watcher.model import Alert, Notice
from watcher.notify.base import Receipt
from watcher.notify.blocks import slack
from watcher.notify.http import Refused, check_address, post
from watcher.notify.message import mentioned
from watcher.notify.pace import Pace

_TOO_RICH = "invalid_blocks"
_NEXT_STEP = {
    "no_service": "the webhook was removed; make a new one and put its address into the file",
    "no_service_id": "the address is not whole; copy it again into the file",
    "no_team": "the workspace is gone; make a webhook in the one in use",
    "team_disabled": "the workspace is disabled",
    "invalid_token": "the address is not valid; copy it again into the file",
    "user_not_found": "who made the webhook is gone; make a new one",
    "channel_not_found": "the channel is gone; make a webhook for another one",
    "channel_is_archived": "the channel is archived; make a webhook for another one",
    "action_prohibited": "an admin forbids it; ask for the webhook to be allowed",
    "posting_to_general_channel_denied": "only admins may post there; choose another channel",
    "too_many_attachments": "Slack takes no more attachments",
    "invalid_payload": "Slack cannot read the message",
    "no_text": "Slack saw no text in the message",
}


@dataclass(frozen=True, slots=True)
class SlackWebhook:
    """``url`` is the webhook's address, which is its secret; ``mention`` as in ``Slack``."""

    url: str = field(repr=False)
    mention: str = ""
    timeout: float = 10.0
    pace: Pace = field(default_factory=Pace, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what is not an address that a secret may go to."""
        check_address(self.url, private=True)

    def send(self, notice: Notice, thread: Receipt | None, shown: tuple[Alert, ...]) -> Receipt:
        """Post what is new; as text alone if Slack does not like the blocks."""
        message = slack(notice, mention=self.mention if mentioned(notice) else "")
        body = {"text": message.text, "blocks": message.blocks, "mrkdwn": False}
        body |= {"unfurl_links": False, "unfurl_media": False}
        try:
            self._post(body)
        except Refused as error:
            if error.code != 400 or not error.answer.startswith(_TOO_RICH):
                raise
            self._post({**body, "blocks": []})
        return {}

    def _post(self, body: dict[str, Any]) -> None:
        self.pace.wait()
        post("slack", self.url, json.dumps(body).encode(), {}, self.timeout, _explain)


def _explain(code: int, answer: str) -> str:
    return _NEXT_STEP.get(answer, "")

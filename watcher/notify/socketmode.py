"""Listens for clicks on buttons, over a connection that goes out: nothing listens here for Slack.

The connection of slack-sdk's own client is kept up by its threads; ``connect`` is to be called
now and then until it stands. A click that could not be written down is not acknowledged: Slack
then tells who clicked that it did not work.
"""

from __future__ import annotations

import http.client
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.socket_mode.builtin import SocketModeClient
from slack_sdk.socket_mode.client import BaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest

from watcher.errors import WatcherError
from watcher.notify.base import SendError

_log = logging.getLogger(__name__)
_silent = logging.getLogger(f"{__name__}.sdk")  # would log whole requests, and the secret address
_silent.setLevel(logging.CRITICAL + 1)

_NEXT_STEP = {
    "invalid_auth": "the app-level token is not valid; put a new one (xapp-...) into its file",
    "not_allowed_token_type": "not an app-level token; make one (xapp-...) with connections:write",
    "missing_scope": "the app-level token lacks connections:write; make a new one",
}


class SocketMode:
    """One connection, of one app. ``clicked`` gets each payload and raises if it cannot act."""

    def __init__(
        self, app_token: str, api: str, clicked: Callable[[Mapping[str, Any]], None]
    ) -> None:
        web = WebClient(base_url=api, timeout=10, retry_handlers=[], logger=_silent)
        self._clicked = clicked
        self._client = SocketModeClient(app_token, logger=_silent, web_client=web, concurrency=2)
        self._client.socket_mode_request_listeners.append(self._take)

    @property
    def connected(self) -> bool:
        """Whether the connection stands."""
        return bool(self._client.is_connected())

    def connect(self) -> None:
        """Connect if the connection does not stand. SendError says why that did not work."""
        if self.connected:
            return
        try:
            self._client.connect_to_new_endpoint()
        except SlackApiError as error:
            code = str(error.response.get("error") or "")
            why = _NEXT_STEP.get(code, code or "no answer")
            raise SendError(f"slack socket mode: {why}", retryable=True) from None
        except (OSError, http.client.HTTPException, SlackClientError) as error:
            why = type(error).__name__  # its text may hold the secret address
            raise SendError(f"slack socket mode: no connection ({why})", retryable=True) from None

    def close(self) -> None:
        """Begin to close the connection: its receiving thread lets go within a few seconds."""
        threading.Thread(target=self._close, daemon=True).start()

    def _close(self) -> None:
        for _ in range(2):  # the client's own threads may close the socket under its feet
            with suppress(OSError, SlackClientError, AttributeError):
                self._client.close()
                return

    def _take(self, client: BaseSocketModeClient, request: SocketModeRequest) -> None:
        if request.type == "interactive":
            try:
                self._clicked(request.payload)
            except WatcherError as error:  # not acknowledged: who clicked is told by Slack
                _log.error("click not taken error=%r", str(error))
                return
        client.send_socket_mode_response({"envelope_id": request.envelope_id})

"""Posts notices as signed JSON. The body is ``message.webhook``, described by a JSON Schema.

The signature covers the time of sending, so that a receiver can refuse what is old: a message
that somebody recorded is of no use a few minutes later, and within them its id is known already.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from watcher.model import Alert, Notice
from watcher.notify.base import Receipt
from watcher.notify.http import check_address, post
from watcher.notify.message import webhook

TIMESTAMP = "X-Watcher-Timestamp"  # Unix seconds at which this try was made
SIGNATURE = "X-Watcher-Signature"  # sha256=<hex HMAC-SHA256 of "<timestamp>.<body>">
IDEMPOTENCY = "Idempotency-Key"  # the notice's id: the same over every retry


@dataclass(frozen=True, slots=True)
class Webhook:
    """``url`` is http or https, ``secret`` the key of the signature, ``timeout`` seconds.

    The URL may hold a token, so neither it nor the secret is ever shown.
    """

    url: str = field(repr=False)
    secret: bytes = field(default=b"", repr=False)
    timeout: float = 10.0
    clock: Callable[[], float] = field(default=time.time, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what is not a web address."""
        check_address(self.url)

    def send(self, notice: Notice, thread: Receipt | None, shown: tuple[Alert, ...]) -> Receipt:
        """Post once; every retry is signed anew, with the same id."""
        body = json.dumps(webhook(notice), allow_nan=False).encode()
        headers = {IDEMPOTENCY: notice.id}
        if self.secret:
            headers |= signed(self.secret, body, int(self.clock()))
        post("webhook", self.url, body, headers, self.timeout)
        return {}


def signed(secret: bytes, body: bytes, at: int) -> dict[str, str]:
    """Return the headers that prove who sent ``body``, and when."""
    digest = hmac.new(secret, b"%d." % at + body, hashlib.sha256).hexdigest()
    return {TIMESTAMP: str(at), SIGNATURE: f"sha256={digest}"}

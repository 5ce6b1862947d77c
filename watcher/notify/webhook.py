"""Posts notices as signed JSON. The body is ``message.webhook``; see there for its fields."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
from dataclasses import dataclass, field
from email.message import Message
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from watcher.model import Alert, Notice
from watcher.notify.base import Receipt, SendError, seconds
from watcher.notify.message import webhook

SIGNATURE = "X-Watcher-Signature"  # sha256=<hex HMAC-SHA256 of the body>
IDEMPOTENCY = "Idempotency-Key"  # the notice's id: the same over every retry
_RETRYABLE = frozenset({408, 425, 429})
_MOST_READ = 65536  # bytes of an answer: it is not used


@dataclass(frozen=True, slots=True)
class Webhook:
    """``url`` is http or https, ``secret`` the key of the signature, ``timeout`` seconds.

    The URL may hold a token, so neither it nor the secret is ever shown.
    """

    url: str = field(repr=False)
    secret: bytes = field(default=b"", repr=False)
    timeout: float = 10.0

    def __post_init__(self) -> None:
        """Refuse what is not a web address: urllib would open files, too."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a webhook's url must begin with https:// or http:// and name a host")

    @property
    def host(self) -> str:
        """The part of the address that may be shown."""
        return urlsplit(self.url).hostname or ""

    def send(self, notice: Notice, thread: Receipt | None, shown: tuple[Alert, ...]) -> Receipt:
        """Post once. A redirect is refused: it would carry the notice somewhere else."""
        body = json.dumps(webhook(notice), allow_nan=False).encode()
        headers = {"Content-Type": "application/json", IDEMPOTENCY: notice.id}
        if self.secret:
            digest = hmac.new(self.secret, body, hashlib.sha256).hexdigest()
            headers[SIGNATURE] = f"sha256={digest}"
        request = Request(self.url, body, headers, method="POST")
        try:
            with build_opener(_NoRedirect).open(request, timeout=self.timeout) as answer:
                answer.read(_MOST_READ)
        except HTTPError as error:
            with error:
                raise self._refused(error) from None
        except URLError as error:  # not even the request got through
            raise SendError(f"webhook {self.host}: {error.reason}", retryable=True) from None
        except (OSError, http.client.HTTPException) as error:  # sent, but no answer
            why = str(error) or type(error).__name__
            text = f"webhook {self.host}: no answer ({why})"
            raise SendError(text, retryable=True, ambiguous=True) from None
        return {}

    def _refused(self, error: HTTPError) -> SendError:
        code = error.code
        if 300 <= code < 400:
            text = "redirects elsewhere; put the final address in the config"
            return SendError(f"webhook {self.host}: {text}", retryable=False)
        server = code >= 500
        return SendError(
            f"webhook {self.host}: HTTP {code}",
            retryable=server or code in _RETRYABLE,
            retry_after=seconds(error.headers.get("Retry-After")),
            ambiguous=server,
        )


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Any:
        return None

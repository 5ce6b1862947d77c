"""How is something posted over HTTP, once? Every way to fail becomes a ``SendError``.

Addresses and headers may hold secrets, so an error names the host alone.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable, Mapping
from email.message import Message
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from watcher.notify.base import SendError, seconds
from watcher.notify.message import clip

_RETRYABLE = frozenset({408, 425, 429})
_SETUP = frozenset({401, 403, 404, 405, 407, 410})  # of the address or its key, not of the message
_MOST_READ = 4096  # bytes of an answer: only a refusal's reason is looked at
_ADDRESS = re.compile(r"https?://[!-~]+")
_WHY_LIMIT = 200
LOCAL = ("localhost", "127.0.0.1", "::1")

Explain = Callable[[int, str], str]


class Refused(SendError):
    """The receiver answered and said no: its status, and its answer in one clean line."""

    code = 0
    answer = ""


def host_of(url: str) -> str:
    """Return the part of an address that may be shown: its host."""
    return urlsplit(url).hostname or ""


def check_address(url: str, *, private: bool = False) -> None:
    """Refuse what is not a web address (urllib would open files, too) with a ValueError.

    ``private``: a secret goes there, so it must be https, or this machine.
    """
    try:
        parts = urlsplit(url)
        whole = _ADDRESS.fullmatch(url) and parts.hostname and parts.port != 0
    except ValueError:
        whole = None
    if not whole:
        raise ValueError("must begin with https:// or http:// and name a host")
    if parts.username is not None:
        raise ValueError("holds a user name, which is not sent; leave it out")
    if private and parts.scheme != "https" and parts.hostname not in LOCAL:
        raise ValueError("must begin with https://, or be this machine: a secret goes there")


def post(
    what: str,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    timeout: float,
    explain: Explain = lambda code, answer: "",
) -> None:
    """Post JSON once. ``what`` names the receiver in errors; ``explain`` may add the next step.

    A redirect is refused: it would carry the message somewhere else. ``explain`` is given the
    status and the answer's text, in one clean line.
    """
    who = f"{what} {host_of(url)}"
    sent = {"Content-Type": "application/json", "User-Agent": "tb-watcher", **headers}
    request = Request(url, body, sent, method="POST")
    try:
        with build_opener(_NoRedirect).open(request, timeout=timeout) as answer:
            answer.read1(_MOST_READ)
            if _cut(answer.headers):
                raise http.client.IncompleteRead(b"")
    except HTTPError as error:
        with error:
            raise _refused(who, error, explain) from None
    except URLError as error:  # not even the request got through
        raise SendError(f"{who}: {clip(str(error.reason), _WHY_LIMIT)}", retryable=True) from None
    except (OSError, http.client.HTTPException) as error:  # sent, but no answer
        why = clip(str(error), _WHY_LIMIT) or type(error).__name__  # may quote what came back
        text = f"{who}: no answer ({why})"
        raise SendError(text, retryable=True, ambiguous=True) from None
    except UnicodeError:  # what the idna codec thinks of a host
        raise SendError(f"{who}: not the name of a host", retryable=False, setup=True) from None


def _cut(headers: Message) -> bool:
    """Whether an answer ended within its headers: what was to come may have said anything."""
    framed = "Content-Length" in headers or "Transfer-Encoding" in headers
    return bool(headers.defects) and not framed


def _refused(who: str, error: HTTPError, explain: Explain) -> SendError:
    code = error.code
    if 300 <= code < 400:
        text = "redirects elsewhere; put the final address in the config"
        return SendError(f"{who}: {text}", retryable=False, setup=True)
    answer = _answer(error)
    why = explain(code, answer)
    server = code >= 500
    refused = Refused(
        f"{who}: HTTP {code}{f'; {why}' if why else ''}",
        retryable=server or code in _RETRYABLE,
        retry_after=seconds(error.headers.get("Retry-After")),
        ambiguous=server,
        setup=code in _SETUP,
    )
    refused.code, refused.answer = code, answer
    return refused


def _answer(error: HTTPError) -> str:
    try:
        return clip(error.read(_MOST_READ).decode("utf-8", "replace").strip(), _WHY_LIMIT)
    except (OSError, http.client.HTTPException):
        return ""


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Any:
        return None

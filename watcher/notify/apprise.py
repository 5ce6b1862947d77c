"""Hands notices to apprise, which knows a hundred services. apprise enters here and nowhere else.

It says whether a message was delivered, not why not: every failure counts as one that may pass.
Text only; what in a name could mention, link or format in one service or another is replaced by
its likeness, since nobody knows which service will show it.
"""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass, field
from typing import Any

from watcher.model import Alert, Notice, Severity
from watcher.notify.base import Progress, Receipt, SendError
from watcher.notify.message import MOST_ALERTS, clip, count, icon, place, plain_notice, title

MODULE = "apprise"
MISSING = "apprise is not installed; run pip install 'tb-watcher[apprise]'"
_TITLE_LIMIT = 200
_TEXT_LIMIT = 3000  # of a message; services cut or refuse more
_LIKENESS = str.maketrans({"@": "＠", "<": "‹", ">": "›", "[": "［", "]": "］"})

_TYPES = {Severity.CRITICAL: "failure", Severity.WARNING: "warning", Severity.INFO: "info"}


@dataclass(frozen=True, slots=True)
class Apprise:
    """``urls`` are apprise's addresses, one a line, blank lines and ``#`` aside: all secret.

    ``timeout`` is in seconds, for connecting and for an answer each.
    """

    urls: str = field(repr=False)
    timeout: float = 10.0
    progress: Progress = field(default_factory=Progress, repr=False, compare=False)
    _services: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make the services. ValueError names the line of an address that is none."""
        for number, line in enumerate(self.urls.splitlines(), 1):
            url = line.strip()
            if url and not url.startswith("#"):
                self._services[f"line {number}"] = self._service(number, url)
        if not self._services:
            raise ValueError("the file of urls names no address")

    def send(self, notice: Notice, thread: Receipt | None, shown: tuple[Alert, ...]) -> Receipt:
        """Tell every service, on a retry those that were not reached yet."""
        failed = []
        done = self.progress.of(notice.id)
        for line, service in self._services.items():
            if line not in done and not self._told(service, notice):
                failed.append(line)
            else:
                done.add(line)
        if failed:
            text = f"apprise: not delivered by the address in {', '.join(failed)} of its file"
            raise SendError(text, retryable=True, ambiguous=True)
        self.progress.finish(notice.id)
        return {}

    def _told(self, service: Any, notice: Notice) -> bool:
        told = notice.alerts
        name = title(told[0], notice.reason)
        if len(told) > MOST_ALERTS:
            name = f"{icon(told[0])} {count(told)}"
        try:
            return bool(
                service.notify(
                    body=_inert("\n".join(_lines(notice))),
                    title=_inert(clip(f"{name} · {place(told[0])}", _TITLE_LIMIT)),
                    notify_type=_TYPES[told[0].severity] if told[0].open else "success",
                    body_format="text",
                )
            )
        except Exception:  # noqa: BLE001 - of whatever service; it may quote the address
            return False

    def _service(self, number: int, url: str) -> Any:
        library = _library()
        plugin = library.Apprise.instantiate(url)
        if plugin is None:
            raise ValueError(f"line {number} of the file of urls is no address apprise knows")
        plugin.socket_connect_timeout = plugin.socket_read_timeout = self.timeout
        service = library.Apprise(asset=library.AppriseAsset(async_mode=False))
        service.add(plugin)
        return service


def _library() -> Any:
    """Return apprise, and keep it from logging addresses. ValueError if it is not installed."""
    try:
        library = importlib.import_module(MODULE)
    except ImportError:
        raise ValueError(MISSING) from None
    logging.getLogger(MODULE).setLevel(logging.CRITICAL + 1)
    return library


def _lines(notice: Notice) -> list[str]:
    """Return whole lines, as many as a message takes."""
    kept: list[str] = []
    for line in plain_notice(notice).splitlines():
        if sum(map(len, kept)) + len(line) > _TEXT_LIMIT:
            return [*kept, "… and more: see `watcher alerts`"]
        kept.append(line)
    return kept


def _inert(text: str) -> str:
    return text.translate(_LIKENESS).replace("=?", "= ?")

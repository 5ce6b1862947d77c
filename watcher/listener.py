"""Who may ask over HTTP, and what can a client do to us? A few pages to read, and nothing.

Meant for the loopback interface: there is no login. Each answer is made by a daemon thread, so
that no client, however slow, holds up anything else or keeps the service from ending.
"""

from __future__ import annotations

import logging
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

log = logging.getLogger(__name__)

_PATIENCE = 5.0  # seconds that a client may let us wait at any point
_TURN = 2.0  # seconds that a client waits for the one before it to get the same page
_MOST = 8  # clients at once; one more, and the one that is served for longest is hung up on

Page = Callable[[], tuple[int, str, bytes]]  # status, content type, body


class Listener:
    """Serves ``pages``, by path, from ``start`` to ``close``."""

    def __init__(self, address: str, pages: Mapping[str, Page]) -> None:
        """Take the address, ``HOST:PORT``; OSError if it cannot be had."""
        host, _, port = address.rpartition(":")
        self._server = _Server(host.strip("[]"), int(port), pages)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{shown}:{port}"

    def start(self) -> None:
        """Answer from now on, in a thread of its own."""
        threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="listener", daemon=True
        ).start()

    def close(self) -> None:
        """Let go of the address; only after ``start``."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 16

    def __init__(self, host: str, port: int, pages: Mapping[str, Page]) -> None:
        self.pages = pages
        self.turns = {path: threading.Lock() for path in pages}
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._clients: dict[int, socket.socket] = {}  # the one served for longest first
        self._clients_lock = threading.Lock()
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._clients_lock:
            if len(self._clients) >= _MOST:
                with suppress(OSError):
                    self._clients.pop(next(iter(self._clients))).shutdown(socket.SHUT_RDWR)
            self._clients[id(request)] = request
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._clients_lock:
            self._clients.pop(id(request), None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say in the log what went wrong; a client that went away is nothing to tell."""
        if isinstance(sys.exception(), OSError):
            log.debug("client went away")
        else:
            log.exception("request not answered")


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _PATIENCE
    error_message_format = "%(message)s\n"
    error_content_type = "text/plain; charset=utf-8"

    def do_GET(self) -> None:
        """Answer with a page. One that takes for ever to make (a hung disk) binds one thread."""
        path = self.path.partition("?")[0]
        if path not in self.server.pages:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        turn = self.server.turns[path]
        if not turn.acquire(timeout=_TURN):
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "busy with an earlier request")
            return
        try:
            code, content_type, body = self.server.pages[path]()
        finally:
            turn.release()
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self) -> None:
        self.send_response(HTTPStatus.METHOD_NOT_ALLOWED)
        self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET
    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse

    def version_string(self) -> str:
        return "tb-watcher"

    def log_message(self, format: str, *args: object) -> None:
        log.debug("request %s", (format % args).encode("ascii", "backslashreplace").decode())

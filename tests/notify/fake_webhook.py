"""A receiver of webhooks on the loopback interface that records, and answers as it is told."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.notify.serving import Serving


class FakeWebhook(Serving):
    """``answers`` holds (status, headers, seconds) for the next calls; 200 at once after them.

    A status of 0 closes the connection without an answer.
    """

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.text = b""  # of every answer
        self.answers: deque[tuple[int, dict[str, str], float]] = deque()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.bodies.append(body)
                outer.headers.append(dict(self.headers.items()))
                outer.paths.append(self.path)
                code, headers, pause = outer.answers.popleft() if outer.answers else (200, {}, 0)
                time.sleep(pause)
                if not code:
                    return
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(outer.text)))
                with contextlib.suppress(OSError):  # the sender gave up waiting
                    self.end_headers()
                    self.wfile.write(outer.text)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        """Where it listens; the path stands for a secret."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook/very-secret"

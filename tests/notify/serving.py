"""What the servers that tests talk to have in common: they serve for as long as a block lasts."""

from __future__ import annotations

import threading
from socketserver import ThreadingTCPServer
from typing import Any, Self


class Serving:
    """Serves ``_server`` while it is used as a context manager."""

    _server: ThreadingTCPServer

    def __enter__(self) -> Self:
        self._server.daemon_threads = True
        serve = self._server.serve_forever
        threading.Thread(target=serve, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()

"""Slack's side of Socket Mode, for the stand-in: sends clicks, waits until they are taken."""

from __future__ import annotations

import itertools
import json
import threading
import time
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

TAKEN_WITHIN = 3.0  # seconds in which an app must say that it has a click


class FakeSocket:
    """A server on the loopback interface. Each click goes to one connected app, as in Slack."""

    def __init__(self) -> None:
        self._server: Server = serve(self._serve, "127.0.0.1", 0)
        self._apps: list[ServerConnection] = []
        self._taken: dict[str, threading.Event] = {}
        self._tickets = (f"ticket-{i}" for i in itertools.count())
        self._open: set[str] = set()
        self._ids = itertools.count()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def open(self) -> str:
        """Return an address at which one app may connect once."""
        ticket = next(self._tickets)
        self._open.add(ticket)
        return f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}/?ticket={ticket}"

    @property
    def connected(self) -> int:
        """How many connections stand."""
        return len(self._apps)

    def press(self, payload: dict[str, Any]) -> bool:
        """Send a click; whether an app took it in time."""
        envelope_id, taken = f"envelope-{next(self._ids)}", threading.Event()
        self._taken[envelope_id] = taken
        sent = {
            "envelope_id": envelope_id,
            "type": "interactive",
            "accepts_response_payload": True,
            "payload": payload,
        }
        until = time.monotonic() + TAKEN_WITHIN
        for app in list(self._apps):
            try:
                app.send(json.dumps(sent))
            except ConnectionClosed:
                continue
            return taken.wait(until - time.monotonic())
        return False

    def refresh(self) -> None:
        """Ask every app to connect anew, as Slack does every few hours."""
        for app in list(self._apps):
            self._apps.remove(app)  # it gets no clicks any more
            app.send(json.dumps({"type": "disconnect", "reason": "refresh_requested"}))

    def close(self) -> None:
        """Stop serving and drop every connection."""
        for app in list(self._apps):
            app.close()
        self._server.shutdown()

    def _serve(self, app: ServerConnection) -> None:
        ticket = (app.request.path if app.request else "").partition("ticket=")[2]
        if ticket not in self._open:
            app.close(4000, "unknown ticket")
            return
        self._open.discard(ticket)
        self._apps.append(app)
        try:
            app.send(json.dumps({"type": "hello", "num_connections": len(self._apps)}))
            for said in app:
                envelope_id = json.loads(said).get("envelope_id", "")
                if envelope_id in self._taken:
                    self._taken.pop(envelope_id).set()
        except ConnectionClosed:
            pass
        finally:
            if app in self._apps:
                self._apps.remove(app)

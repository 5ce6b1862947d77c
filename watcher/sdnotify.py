"""How does systemd learn how we are? One datagram a word, to the socket it names."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(*words: str) -> None:
    """Send words such as ``READY=1`` or ``WATCHDOG=1``; nothing happens outside of systemd."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with (
        contextlib.suppress(OSError),  # systemd went away: nobody is left to tell
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
    ):
        sender.connect("\0" + address[1:] if address[0] == "@" else address)
        sender.sendall("\n".join(words).encode())


def watchdog_seconds() -> float | None:
    """Return how often systemd wants to hear of us, None if it does not."""
    micros = os.environ.get("WATCHDOG_USEC", "")
    meant = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(micros) / 1e6 if micros.isdigit() and meant else None

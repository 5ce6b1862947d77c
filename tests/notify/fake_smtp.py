"""A small mail server on the loopback interface that records, and answers as it is told."""

from __future__ import annotations

import base64
import contextlib
import socketserver
import ssl
import subprocess
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

from tests.notify.serving import Serving


@dataclass(frozen=True)
class Received:
    """One mail as it came in."""

    sender: str
    to: tuple[str, ...]
    data: bytes
    encrypted: bool
    login: str  # "user:password"

    @property
    def mail(self) -> EmailMessage:
        """The mail, read by a strict reader."""
        mail = message_from_bytes(self.data, policy=default)
        assert isinstance(mail, EmailMessage)
        assert not mail.defects
        return mail


def certificate(directory: Path) -> Path:
    """Make a certificate for localhost, with its key, in one file."""
    file = directory / "localhost.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    where = ["-keyout", str(file), "-out", str(directory / "cert")]
    subprocess.run([*command.split(), *names, *where], check=True, capture_output=True)
    file.write_bytes(file.read_bytes() + (directory / "cert").read_bytes())
    return file


class FakeSmtp(Serving):
    """``answers`` holds, for a verb, the next answers; after them it says yes.

    An answer of "" closes the connection, a number waits so many seconds. With a certificate it
    offers STARTTLS, or speaks TLS from the first byte if ``implicit``.
    """

    def __init__(self, pem: Path | None = None, *, implicit: bool = False) -> None:
        self.received: list[Received] = []
        self.verbs: list[str] = []
        self.answers: defaultdict[str, deque[str | float]] = defaultdict(deque)
        self.context: ssl.SSLContext | None = None
        if pem is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(pem)
        self.implicit = implicit
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):  # who sends may go away at any time
                    _Session(outer, self.request).run()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])


class _Session:
    """One connection."""

    def __init__(self, server: FakeSmtp, sock: Any) -> None:
        self.server, self.sock = server, sock
        self.encrypted, self.login, self.sender = False, "", ""
        self.to: list[str] = []
        if server.implicit:
            self._encrypt()

    def _encrypt(self) -> None:
        assert self.server.context is not None
        self.sock = self.server.context.wrap_socket(self.sock, server_side=True)
        self.encrypted = True

    def run(self) -> None:
        self.file = self.sock.makefile("rb")
        try:
            if not self._say("GREETING", "220 hello"):
                return
            while line := self.file.readline():
                if not self._answer(line.decode("ascii").rstrip("\r\n")):
                    return
        finally:
            self.file.close()
            self.sock.close()

    def _answer(self, line: str) -> bool:
        verb = line.split(" ")[0].upper()
        self.server.verbs.append(verb)
        if verb == "EHLO":
            tls = "250-STARTTLS\r\n" if self.server.context and not self.encrypted else ""
            return self._say(verb, f"250-localhost\r\n{tls}250 AUTH PLAIN")
        if verb == "STARTTLS":
            self._say(verb, "220 go on")
            self.file.close()
            self._encrypt()
            self.file = self.sock.makefile("rb")
            return True
        if verb == "AUTH":
            self.login = base64.b64decode(line.split(" ")[2]).decode().replace("\0", ":")[1:]
            return self._say(verb, "235 welcome")
        if verb == "DATA":
            return self._data()
        if verb == "QUIT":
            self._say(verb, "221 bye")
            return False
        address = line.partition(":<")[2].partition(">")[0]
        fine = self._say(verb, "250 ok")
        if verb == "MAIL":
            self.sender, self.to = address, []
        elif verb == "RCPT" and fine == "250 ok":
            self.to.append(address)
        return bool(fine)

    def _data(self) -> bool:
        if self._say("DATA", "354 go on") != "354 go on":
            return True
        lines = []
        while (line := self.file.readline()) != b".\r\n":
            assert line.endswith(b"\r\n")
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        said = self._say("BODY", "250 taken")
        if said == "250 taken":
            mail = b"".join(lines)
            self.server.received.append(
                Received(self.sender, tuple(self.to), mail, self.encrypted, self.login)
            )
        return bool(said)

    def _say(self, verb: str, usual: str) -> str:
        told = self.server.answers[verb]
        answer = told.popleft() if told else usual
        if isinstance(answer, float):
            time.sleep(answer)
            answer = usual
        if answer:
            self.sock.sendall(f"{answer}\r\n".encode())
        return answer

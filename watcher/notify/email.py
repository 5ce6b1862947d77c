"""Sends notices by mail, over SMTP: always encrypted, unless the server is this machine.

The text goes at once; the chart follows as an answer in the same thread.
"""

from __future__ import annotations

import logging
import smtplib
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Literal

from watcher.model import Alert, Notice
from watcher.notify.base import Progress, Receipt, SendError
from watcher.notify.http import LOCAL
from watcher.notify.mail import Envelope, letter, picture, receipt
from watcher.notify.message import clip

Security = Literal["starttls", "tls", "plain"]
PORTS: Mapping[Security, int] = {"starttls": 587, "tls": 465, "plain": 25}
_AUTH = frozenset({530, 534, 535, 538})
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Email:
    """``to`` are the recipients, ``sender`` who the mail is from, ``port`` 0 the usual one.

    ``security`` "plain" is for a server on this machine only. ``ca_file`` holds certificates to
    trust beside the system's. Without ``charts``, no mail with a chart follows.
    """

    host: str
    sender: str
    to: tuple[str, ...]
    port: int = 0
    security: Security = "starttls"
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    charts: bool = True
    timeout: float = 30.0
    clock: Callable[[], float] = field(default=time.time, repr=False, compare=False)
    progress: Progress = field(default_factory=Progress, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse to send in the clear, and what SMTP cannot carry."""
        if self.security == "plain" and self.host not in LOCAL:
            raise ValueError('security "plain" is for a server on this machine only')
        if not (self.username + self.password).isascii():
            raise ValueError("user name and password must be ASCII: SMTP carries no others")

    def send(self, notice: Notice, thread: Receipt | None, shown: tuple[Alert, ...]) -> Receipt:
        """Send one mail to all recipients, on a retry to those that did not get it yet.

        Who is refused for good while others are not gets no mail, and a warning in the log.
        """
        mail = letter(notice, thread, self._envelope())
        accepted = self.progress.of(notice.id)
        self._deliver(mail, accepted)
        self.progress.finish(notice.id)
        return thread if thread and "message_id" in thread else receipt(mail)

    def attach(
        self, notice: Notice, receipt: Receipt, shown: tuple[Alert, ...], png: bytes
    ) -> Receipt:
        """Send the chart as an answer to the first mail."""
        if self.charts:
            self._deliver(picture(notice, receipt, shown, png, self._envelope()), set())
        return receipt

    def _envelope(self) -> Envelope:
        return Envelope(self.sender, self.to, self.clock())

    def _deliver(self, mail: EmailMessage, accepted: set[str]) -> None:
        """Send to whom it was not sent yet, and note who accepted."""
        still = [address for address in self.to if address not in accepted]
        smtp, sending = None, False
        try:
            smtp = self._connected()
            sending = True
            refused = smtp.send_message(mail, self.sender, still)
            with suppress(smtplib.SMTPException, OSError):  # it has the mail: that is enough
                smtp.quit()
        except smtplib.SMTPRecipientsRefused as error:
            refused = error.recipients
        except (smtplib.SMTPException, OSError) as error:
            raise self._failure(error, sending) from None
        finally:
            if smtp is not None:
                smtp.close()
        accepted.update(address for address in still if address not in refused)
        self._settle(refused, accepted)

    def _settle(self, refused: Mapping[str, tuple[int, bytes]], accepted: set[str]) -> None:
        """Raise for those to try again, or if nobody at all got it; else warn."""
        passing_first = sorted(refused.items(), key=lambda one: one[1][0])
        for address, (code, answer) in passing_first:
            said = f"mail {self.host}: {address} refused: {_answer(code, answer)}"
            if code < 500:
                raise SendError(said, retryable=True)
            if not accepted:
                raise SendError(f"{said}; correct to", retryable=False, setup=True)
            _log.warning("recipient refused reason=%r action=sent to the others", said)

    def _connected(self) -> smtplib.SMTP:
        """Return a connection that is encrypted, as far as it has to be, and logged in."""
        port = self.port or PORTS[self.security]
        smtp: smtplib.SMTP
        if self.security == "tls":
            smtp = smtplib.SMTP_SSL(
                self.host, port, timeout=self.timeout, context=self._trusting()
            )
        else:
            smtp = smtplib.SMTP(self.host, port, timeout=self.timeout)
        with ExitStack() as undo:
            undo.callback(smtp.close)
            if self.security == "starttls":
                smtp.starttls(context=self._trusting())
            smtp.ehlo_or_helo_if_needed()
            if self.username:
                smtp.login(self.username, self.password)
            undo.pop_all()
        return smtp

    def _trusting(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        try:
            if self.ca_file:
                context.load_verify_locations(self.ca_file)
        except OSError as error:  # an SSLError, if it holds no certificates
            why = f"ca_file {self.ca_file} cannot be used: {error.strerror or error}"
            text = f"mail {self.host}: {why}"
            raise SendError(text, retryable=False, setup=True) from None
        return context

    def _failure(self, error: Exception, sending: bool) -> SendError:
        """Say what came of it. What a server answers to a login is not repeated."""
        who = f"mail {self.host}"
        match error:
            case smtplib.SMTPResponseException(smtp_code=code, smtp_error=answer):
                said = _answer(code, answer)
                if code in _AUTH:
                    said = f"{code}, the login was refused; correct username or password file"
                lasting = code >= 500
                ours = code in _AUTH or isinstance(error, smtplib.SMTPSenderRefused)
                return SendError(f"{who}: {said}", retryable=not lasting, setup=ours)
            case smtplib.SMTPServerDisconnected():
                text = f"{who}: the connection was closed"
                return SendError(text, retryable=True, ambiguous=sending)
            case smtplib.SMTPNotSupportedError() if "STARTTLS" in str(error):
                text = f'{who}: offers no STARTTLS; set security = "tls", or another host'
                return SendError(text, retryable=False, setup=True)
            case smtplib.SMTPException():
                text = f"{who}: takes no login of ours; correct security, or leave username out"
                return SendError(text, retryable=False, setup=True)
            case ssl.SSLCertVerificationError():
                why = f"its certificate is not trusted ({error.verify_message}); set ca_file"
                return SendError(f"{who}: {why}", retryable=True)
            case ssl.SSLError():
                text = f"{who}: {error.reason or 'no TLS'}; does security fit the port?"
                return SendError(text, retryable=True)
            case _:
                text = f"{who}: {clip(str(error), 200) or type(error).__name__}"
                return SendError(text, retryable=True, ambiguous=sending)


def _answer(code: int, answer: bytes | str) -> str:
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return f"{code} {clip(' '.join(text.split()), 200)}"

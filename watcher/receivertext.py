"""How are receivers written in the config? The keys of each type, and which of them are secret.

A secret is never a key: its file or its credential is. A type with the secret ``token`` has the
keys ``token_file`` and ``token_credential``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from watcher.configtext import Positive, Timeout
from watcher.notify.http import LOCAL, check_address
from watcher.places import Strict, shown, some


def _web(value: str) -> str:
    check_address(value)
    return value


def _private(value: str) -> str:
    if value:
        check_address(value, private=True)
    return value


def _mail(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+", value):
        raise ValueError(f'{shown(value)} is not an address, as "watcher@example.org"')
    return value


Secrets = Mapping[str, bool]  # by name: whether it must be there
Web = Annotated[str, AfterValidator(_web)]
MailAddress = Annotated[str, AfterValidator(_mail)]
PrivateWeb = Annotated[str, AfterValidator(_private)]  # "": the service's own address


class ReceiverText(Strict):
    """What every receiver has. ``secrets`` says of each secret whether it must be there.

    ``paths`` are the keys that name files beside those of secrets, ``module`` is what must be
    installed for it; an extra has that name.
    """

    secrets: ClassVar[Secrets] = {}
    paths: ClassVar[tuple[str, ...]] = ()
    module: ClassVar[str] = ""

    type: str
    fallback: str = ""
    send_resolved: bool = True

    def troubles(self, secrets: frozenset[str]) -> Iterator[tuple[str, str]]:
        """Yield key and what is wrong with it, as only the whole shows, given these secrets."""
        yield from ()


class ConsoleText(ReceiverText):
    """A receiver that prints."""

    type: Literal["console"]


class SlackText(ReceiverText):
    """A receiver that is a Slack channel."""

    secrets: ClassVar[Secrets] = {"token": True, "app_token": False}

    type: Literal["slack"]
    channel: str = Field(min_length=1)
    token_file: str = ""
    token_credential: str = ""
    app_token_file: str = ""
    app_token_credential: str = ""
    api_url: PrivateWeb = ""
    mention: str = ""
    timeout: Timeout = 10.0


class SlackWebhookText(ReceiverText):
    """A receiver that is a Slack incoming webhook."""

    secrets: ClassVar[Secrets] = {"url": True}

    type: Literal["slack-webhook"]
    url_file: str = ""
    url_credential: str = ""
    mention: str = ""
    timeout: Timeout = 10.0


class WebhookText(ReceiverText):
    """A receiver that is an address."""

    secrets: ClassVar[Secrets] = {"secret": False}

    type: Literal["webhook"]
    url: Web
    secret_file: str = ""
    secret_credential: str = ""
    timeout: Timeout = 10.0


class AlertmanagerText(ReceiverText):
    """A receiver that is an Alertmanager."""

    secrets: ClassVar[Secrets] = {"token": False, "password": False}

    type: Literal["alertmanager"]
    url: Web
    username: str = ""
    password_file: str = ""
    password_credential: str = ""
    token_file: str = ""
    token_credential: str = ""
    expires_after: Positive = 90 * 86400.0
    generator_url: Annotated[str, AfterValidator(lambda v: _web(v) if v else v)] = ""
    timeout: Timeout = 10.0

    def troubles(self, secrets: frozenset[str]) -> Iterator[tuple[str, str]]:
        """One way to log in at most, and no secret over a line that others can read."""
        if "token" in secrets and ("password" in secrets or self.username):
            yield "", "name either a token, or username and password"
        elif bool(self.username) is not ("password" in secrets):
            yield "", "username and password go together; name both"
        if secrets:
            try:
                check_address(self.url, private=True)
            except ValueError as error:
                yield "url", str(error)


class PagerDutyText(ReceiverText):
    """A receiver that is a service in PagerDuty."""

    secrets: ClassVar[Secrets] = {"routing_key": True}

    type: Literal["pagerduty"]
    routing_key_file: str = ""
    routing_key_credential: str = ""
    url: PrivateWeb = ""
    timeout: Timeout = 10.0


class EmailText(ReceiverText):
    """A receiver that is a list of mail addresses."""

    secrets: ClassVar[Secrets] = {"password": False}
    paths: ClassVar[tuple[str, ...]] = ("ca_file",)

    type: Literal["email"]
    host: str = Field(pattern=r"^[A-Za-z0-9._:-]+$")
    port: int = Field(default=0, ge=0, le=65535)
    security: Literal["starttls", "tls", "plain"] = "starttls"
    username: str = ""
    password_file: str = ""
    password_credential: str = ""
    ca_file: str = ""
    sender: MailAddress = Field(alias="from")
    to: Annotated[tuple[MailAddress, ...], AfterValidator(some)]
    charts: bool = True
    timeout: Timeout = 30.0

    def troubles(self, secrets: frozenset[str]) -> Iterator[tuple[str, str]]:
        """Nothing is sent in the clear, and a login is whole."""
        if self.security == "plain" and self.host not in LOCAL:
            yield "security", '"plain" is for a server on this machine only'
        if bool(self.username) is not ("password" in secrets):
            yield "", "username and password go together; name both"


class AppriseText(ReceiverText):
    """A receiver that is whatever apprise knows."""

    secrets: ClassVar[Secrets] = {"urls": True}
    module: ClassVar[str] = "apprise"

    type: Literal["apprise"]
    urls_file: str = ""
    urls_credential: str = ""
    timeout: Timeout = 10.0


RECEIVERS: Mapping[str, type[ReceiverText]] = {
    "console": ConsoleText,
    "slack": SlackText,
    "slack-webhook": SlackWebhookText,
    "webhook": WebhookText,
    "alertmanager": AlertmanagerText,
    "pagerduty": PagerDutyText,
    "email": EmailText,
    "apprise": AppriseText,
}

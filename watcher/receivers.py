"""Which receivers are there, and where are their secrets? Read when needed, never kept."""

from __future__ import annotations

import importlib.util
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from watcher.errors import WatcherError
from watcher.receivertext import ConsoleText, ReceiverText

CONSOLE: Literal["console"] = "console"


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret is kept: a file, or a credential that systemd hands over. Never its value."""

    file: str = ""
    credential: str = ""

    @property
    def elsewhere(self) -> bool:
        """Whether only a service that systemd starts is given it: by hand nobody can look."""
        return bool(self.credential) and not os.environ.get("CREDENTIALS_DIRECTORY")

    def path(self) -> Path:
        """Return the file to read. WatcherError if systemd handed over no credentials."""
        if self.file:
            return Path(self.file)
        if self.elsewhere:
            given = f"LoadCredential={self.credential}:PATH"
            raise WatcherError(
                f'credential "{self.credential}": not started by systemd; add {given} to the '
                f'unit, by hand put "systemd-run -P -p {given}" first, or name a file'
            )
        return Path(os.environ["CREDENTIALS_DIRECTORY"]) / self.credential

    def read(self) -> str:
        """Return the secret. WatcherError says what keeps it from being read, never what it is."""
        path = self.path()
        try:
            mode = path.stat().st_mode
            text = path.read_text("utf-8").strip()
        except FileNotFoundError as error:
            hint = f"; add LoadCredential={self.credential}:PATH to the unit"
            said = "secret cannot be read: there is no such file"
            raise WatcherError(f"{path}: {said}{hint if self.credential else ''}") from error
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise WatcherError(f"{path}: secret cannot be read: {why}") from error
        if not stat.S_ISREG(mode):
            raise WatcherError(f"{path}: a secret must be a regular file")
        if self.file and mode & 0o077:
            raise WatcherError(f"{path}: others can read this secret; run chmod 600 {path}")
        if not text:
            raise WatcherError(f"{path}: secret is empty")
        return text


@dataclass(frozen=True, slots=True)
class Receiver:
    """One place that messages go to: what its table says, and where its secrets are.

    An address in ``text`` may hold a token, so it is not shown.
    """

    name: str
    text: ReceiverText = field(default=ConsoleText(type=CONSOLE), repr=False)
    secrets: Mapping[str, Secret] = field(default_factory=dict)

    @property
    def type(self) -> str:
        """What kind of receiver it is."""
        return self.text.type

    @property
    def fallback(self) -> str:
        """The receiver that is told what this one refuses for good, "" for none."""
        return self.text.fallback

    @property
    def missing(self) -> str:
        """Say what must be installed for it, "" if all is."""
        module = self.text.module
        if not module or importlib.util.find_spec(module) is not None:
            return ""
        return f"{module} is not installed; run pip install 'tb-watcher[{module}]'"

    def read(self, secret: str) -> str:
        """Return one of its secrets, "" if there is none. WatcherError if it cannot be read."""
        return self.secrets[secret].read() if secret in self.secrets else ""

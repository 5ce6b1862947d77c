"""What can go wrong that a caller handles? Each error is one line with the next step in it."""

from __future__ import annotations

from dataclasses import dataclass


class WatcherError(Exception):
    """Could not do the work: one line for a person, exit code 2."""


class LogdirError(WatcherError):
    """The log directory cannot be read at all (missing, not a directory, no rights)."""


class StoreError(WatcherError):
    """The state database cannot be used: read-only, full, damaged or from a newer version."""


class DamageWarning(UserWarning):
    """Some bytes of an event file are unsound; the sound records around them were read."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in a file a person wrote; ``line`` and ``column`` from 1, 0 if unknown."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        """Say ``file:line:column: message``, leaving out what is not known."""
        place = [self.file, *(str(n) for n in (self.line, self.column) if n)]
        return f"{':'.join(place)}: {self.message}"


class InvalidInput(WatcherError):
    """A config or rule pack is wrong. Carries every problem at once; exit code 1."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems)
        super().__init__("\n".join(str(p) for p in self.problems))

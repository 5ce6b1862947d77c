"""Does a label fit a glob? One way to ask, for rules, routes and silences."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase


def fits(value: str, glob: str) -> bool:
    """Whether ``value`` fits ``glob``, in upper and lower case; a leading ``!`` negates."""
    wanted = not glob.startswith("!")
    return fnmatchcase(value, glob.removeprefix("!")) is wanted


def all_fit(labels: Mapping[str, str], globs: Mapping[str, str]) -> bool:
    """Whether every label fits its glob; a label that is absent is empty."""
    return all(fits(labels.get(name, ""), glob) for name, glob in globs.items())

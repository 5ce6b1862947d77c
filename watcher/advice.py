"""What usually causes this, what usually helps? The texts are data, in ``advice.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True)
class Advice:
    """Likely causes and suggestions, the likeliest first."""

    causes: tuple[str, ...]
    helps: tuple[str, ...]


@cache
def _all() -> Mapping[str, Advice]:
    from ruamel.yaml import YAML  # only when there is something to say

    text = resources.files("watcher").joinpath("advice.yaml").read_text("utf-8")
    return {
        key: Advice(tuple(entry["causes"]), tuple(entry["helps"]))
        for key, entry in YAML(typ="safe", pure=True).load(text).items()
    }


def advice(key: str) -> Advice:
    """Return the advice of ``key``; KeyError if there is none."""
    return _all()[key]


def text(key: str) -> str:
    """Return what usually helps as one line, "" if there is no advice of ``key``."""
    return "; ".join(_all()[key].helps) if key in _all() else ""

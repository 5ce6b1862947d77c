"""What do "10m", "2h30m", "3 points" and "500 steps" mean? Durations and holds as people write."""

from __future__ import annotations

import math
import re

from watcher.model import Hold

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = r"\d+(?:\.\d+)?(?:ms|s|m|h|d|w)"
DURATION = rf"^{_PART}(?:\s*{_PART})*$"
_COUNT = r"\d+\s+(?:points?|steps?)"
HOLD = rf"^(?:{_COUNT}|{_PART}(?:\s*{_PART})*)$"
_MOST = 10 * 365 * 86400.0  # longer than any training; a typing error otherwise


def duration(text: str) -> float:
    """Return the seconds of ``30s``, ``10m``, ``2h30m``, ``1d``; ValueError says what is wrong."""
    plain = text.strip()
    if plain == "0":
        return 0.0
    if not re.fullmatch(DURATION, plain):
        raise ValueError(f'"{text}" is not a duration; write 30s, 10m, 2h30m or 1d')
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)", plain)
    seconds = math.fsum(float(amount) * _SECONDS[unit] for amount, unit in parts)
    if seconds > _MOST:
        raise ValueError(f'"{text}" is more than ten years')
    return seconds


def hold(text: str) -> Hold:
    """Return how long a condition must last: ``3 points``, ``500 steps``, or a duration."""
    plain = text.strip()
    if not re.fullmatch(HOLD, plain) and plain != "0":
        raise ValueError(
            f'"{text}" is neither a count nor a duration; write 3 points, 500 steps or 10m'
        )
    amount, _, unit = plain.partition(" ")
    if unit.strip() in ("point", "points"):
        return Hold(float(amount), "points")
    if unit.strip() in ("step", "steps"):
        return Hold(float(amount), "steps")
    return Hold(duration(plain), "seconds")

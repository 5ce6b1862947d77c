"""What does a pack's own test say? Its form, and the notation its series are written in.

    series:
      train/loss: 2.3-0.01x60~0.02 0.5x80      # or a plain list of numbers
      val/loss: {values: 2.4*0.98x30, every: 10}

A series is a row of parts, each with as many points as its count says, one point each interval:

    0.5          one point                   0.5x80     eighty equal points
    1-0.01x60    1, 0.99, 0.98, ...          2.3*0.98x60   2.3, 2.3 · 0.98, 2.3 · 0.98², ...
    _   _x5      nothing was written         nan  inf  -inf  nanx3   as said
    ...~0.02     Gaussian noise of that standard deviation upon the part's numbers; it depends on
                 the series' name and the place in it alone, so it is always the same
"""

from __future__ import annotations

import math
import random
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from watcher.model import Severity
from watcher.places import Strict, some
from watcher.units import DURATION, duration

MAX_POINTS = 100_000  # of one test's series

_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_PART = re.compile(
    rf"(?P<start>_|nan|[+-]?(?:inf|{_NUMBER}))"
    rf"(?:(?P<op>[+*-])(?P<by>-?{_NUMBER}))?"
    rf"(?:x(?P<count>\d+))?"
    rf"(?:~(?P<noise>{_NUMBER}))?"
)
Points = tuple[float | None, ...]  # None: nothing was written


def points(text: str, name: str) -> Points:
    """Return the values of ``text`` in series ``name``; ValueError says what is wrong."""
    noise = random.Random(name)  # the same on every machine
    found: list[float | None] = []
    for part in text.split():
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(
                f'"{part}" cannot be read; write 1-0.01x60, 2*0.99x60, 0.5x80, _x5 or nan'
            )
        found += _part(match, noise)
        if len(found) > MAX_POINTS:
            raise ValueError(f"more than {MAX_POINTS} points")
    return tuple(found)


def _part(match: re.Match[str], noise: random.Random) -> list[float | None]:
    count = int(match["count"] or 1)
    if count > MAX_POINTS:
        raise ValueError(f"more than {MAX_POINTS} points")
    if match["start"] == "_":
        if match["op"] or match["noise"]:
            raise ValueError(f'"{match[0]}": nothing has no step and no noise')
        return [None] * count
    start, by = float(match["start"]), float(match["by"] or 0.0)
    if match["op"] == "*":
        clean = [start * by**i for i in range(count)]
    else:
        sign = -1.0 if match["op"] == "-" else 1.0
        clean = [start + sign * by * i for i in range(count)]
    spread = float(match["noise"] or 0.0)
    return [v + noise.gauss(0.0, spread) if spread else v for v in clean]


# ------------------------------------------------------------------------- the form


def _seconds(value: Any) -> Any:
    return duration(value) if isinstance(value, str) else value


Seconds = Annotated[
    float,
    BeforeValidator(_seconds),
    Field(ge=0),
    WithJsonSchema({"type": ["string", "number"], "pattern": DURATION}),
]


def _series(value: Any) -> Any:
    """Take the short forms: text, or a list of numbers."""
    return value if isinstance(value, dict) else {"values": value}


def _values(value: Any) -> Any:
    """Check the notation where its place is known; the numbers come later, with the name."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list):
        if any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in value):
            raise ValueError("a list of values holds numbers only; write nothing as _ in a text")
        return " ".join(_written(float(v)) for v in value)
    if not isinstance(value, str):
        # pydantic collects ValueErrors only
        raise ValueError("expected a text such as 1-0.01x60, or numbers")  # noqa: TRY004
    points(value, "")
    return value


def _written(value: float) -> str:
    return "nan" if math.isnan(value) else repr(value)


class Series(Strict):
    """``values``: the notation. ``every``: a point each so many intervals."""

    values: Annotated[
        str,
        BeforeValidator(_values),
        WithJsonSchema({"type": ["string", "number", "array"], "items": {"type": "number"}}),
    ]
    every: int = Field(default=1, ge=1)


SeriesText = Annotated[
    Series,
    BeforeValidator(_series),
    WithJsonSchema(
        {
            "type": ["string", "number", "array", "object"],
            "items": {"type": "number"},
            "properties": {
                "values": {"type": ["string", "number", "array"]},
                "every": {"type": "integer", "minimum": 1},
            },
            "required": ["values"],
            "additionalProperties": False,
        }
    ),
]


def _time(value: str) -> str:
    if value != "end":
        duration(value)
    return value


class Expected(Strict):
    """One alert that stands; what is not said is not compared."""

    alert: str
    state: Literal["pending", "firing", "resolved", "ended", "superseded"] = "firing"
    onset_step: int | None = None
    best_step: int | None = None
    severity: Severity | None = None
    detector: str | None = None


class Expect(Strict):
    """What stands at one time: a duration since the start, the moment of a step, or the end."""

    at: Annotated[str, AfterValidator(_time)] | None = None
    step: int | None = None
    alerts: list[Expected]

    @model_validator(mode="after")
    def _one_time(self) -> Expect:
        if (self.at is None) == (self.step is None):
            raise ValueError("say when: either at (100m, or end) or step")
        return self


class PackTest(Strict):
    """One test of a pack. ``start_step`` and ``steps_per_point`` say at which steps points lie."""

    name: str
    interval: Seconds = 60.0
    series: dict[str, SeriesText]
    steps_per_point: int = Field(default=1, ge=1, le=10**9)
    start_step: int = Field(default=0, ge=-(10**15), le=10**15)
    finished: bool = False  # whether the run's files say at the end that it is complete
    expect: Annotated[list[Expect], AfterValidator(some)]

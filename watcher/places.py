"""Where does the file say that, and what was meant? From pydantic's errors to ``Problem``s."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from watcher.errors import Problem

Where = tuple[str | int, ...]  # keys and list indices from the top of the file

Items = TypeVar("Items", bound=Sequence[Any])

_KINDS = {
    "string_type": "text",
    "string_sub_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "model_attributes_type": "keys with values",
    "dataclass_type": "keys with values",
    "none_required": "nothing",
}


class Strict(BaseModel):
    """Data that a person wrote: unknown keys are errors, and nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def some(value: Items) -> Items:
    """Refuse an empty list; an AfterValidator, so that the items' own errors come first."""
    if not value:
        raise ValueError("is empty; write at least one")
    return value


@dataclass(slots=True)
class Places:
    """Line and column, from 1, of every key and value of one file."""

    keys: dict[Where, tuple[int, int]] = field(default_factory=dict)
    values: dict[Where, tuple[int, int]] = field(default_factory=dict)

    def of(self, where: Where, *, key: bool = False) -> tuple[int, int]:
        """Return the place of ``where``, of the nearest thing around it if it has none."""
        if key and where in self.keys:
            return self.keys[where]
        while where not in self.values and where not in self.keys and where:
            where = where[:-1]
        return self.values.get(where) or self.keys.get(where) or (0, 0)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean x?``, or what is known if there is little of it, else ""."""
    names = sorted(known)
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.75)
    if close:
        return f'; did you mean "{by_lower[close[0]]}"?'
    return f"; known: {', '.join(names)}" if 0 < len(names) <= 16 else ""


def problems_of(
    error: ValidationError,
    model: type[BaseModel],
    file: str,
    places: Places,
    under: Where = (),
) -> list[Problem]:
    """Say what pydantic found in data at ``under``, one line an error, each with its place."""
    said: dict[Problem, None] = {}
    for one in error.errors(include_url=False):
        loc = tuple(one["loc"])
        extra, missing = one["type"] == "extra_forbidden", one["type"] == "missing"
        name = str(loc[-1]) if loc else ""
        if extra:
            message = f'unknown key "{name}"{did_you_mean(name, _keys(model, loc[:-1]))}'
        elif missing:
            message = f'missing key "{name}"'
        else:
            key = next((str(p) for p in reversed(loc) if isinstance(p, str)), "")
            message = f"{key}: {_message(one)}" if key else _message(one)
        line, column = places.of((*under, *(loc[:-1] if missing else loc)), key=extra)
        said[Problem(file, line, column, message)] = None
    return list(said)


def _message(error: Mapping[str, Any]) -> str:
    kind, given = error["type"], error["input"]
    if kind in _KINDS:
        return f"expected {_KINDS[kind]}, found {shown(given)}"
    if kind in ("literal_error", "enum"):
        choices = re.findall(r"'([^']*)'", error["ctx"]["expected"])
        hint = did_you_mean(given, choices) if isinstance(given, str) else ""
        if hint and "did you mean" in hint:
            return f"{shown(given)} is not one of {', '.join(choices)}{hint}"
        return f"{shown(given)} is not one of {', '.join(choices)}"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    text = str(error["msg"])
    return f"{text[0].lower()}{text[1:]}, found {shown(given)}"


def shown(value: object) -> str:
    """Return a value as it may stand in a message: short, in the file's own manner."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value[:60]}…"' if len(value) > 60 else f'"{value}"'
    if isinstance(value, Mapping):
        return "keys with values"
    if isinstance(value, Sequence):
        return "a list"
    return str(value)


def _keys(model: Any, loc: Where) -> list[str]:
    """Return the keys that are known where ``loc`` leads within ``model``."""
    kind = model
    for part in loc:
        kind = _inner(_plain(kind), part)
    kind = _plain(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [f.alias or name for name, f in kind.model_fields.items()]
    return []


def _plain(kind: Any) -> Any:
    """Strip what stands around a type: Annotated, and the None of an optional."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return _plain(next(k for k in get_args(kind) if k is not type(None)))
    return kind


def _inner(kind: Any, part: str | int) -> Any:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, one in kind.model_fields.items():
            if part == (one.alias or name):
                return one.annotation
        return None
    args = [k for k in get_args(kind) if k is not Ellipsis]
    return args[-1] if args else None

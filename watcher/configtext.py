"""How is the config written? Its keys and their kinds, and where in the TOML each one stands."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from watcher import muting
from watcher.errors import Problem
from watcher.model import Better, Role, Severity
from watcher.places import Places, Strict, Where, did_you_mean, shown, some
from watcher.routing import OWN_LABELS
from watcher.runs import label_names
from watcher.source.listing import DONE_MARKERS
from watcher.units import duration

MIN_SILENCE = 300.0  # seconds: a writer's flush interval plus a network file system's cache
NAME = r"^[A-Za-z0-9_.-]+$"
_PART = re.compile(r"(\{[A-Za-z_]\w*\}|[\w.*-])+")
_TAKEN = OWN_LABELS - {"team"}  # the team of a run that no rule's team stands before
LISTEN = "127.0.0.1:9469"
_LEVELS = Literal["debug", "info", "warning", "error"]


def _seconds(value: Any) -> float:
    if not isinstance(value, str):
        raise ValueError(f'{shown(value)} has no unit; write "30s", "10m" or "2h"')  # noqa: TRY004
    return duration(value)


def _template(value: str) -> str:
    """Refuse a template that no path fits, and a name that means something else already."""
    for part in value.split("/") if value else []:
        if not _PART.fullmatch(part):
            raise ValueError(f'"{part}" is neither {{name}} nor *; write "{{team}}/{{user}}"')
    names = label_names(value)
    for name in names:
        if names.count(name) > 1 or name in _TAKEN:
            raise ValueError(f"{{{name}}} is taken; use another name")
    return value


def _address(value: str) -> str:
    """Refuse what is no HOST:PORT to listen on; "" is none at all."""
    host, colon, port = value.rpartition(":")
    bare = host[1:-1] if re.fullmatch(r"\[.*\]", host) else host
    plain = re.fullmatch(r"[0-9A-Za-z.-]+" if bare == host else r"[0-9A-Fa-f:.]+", bare)
    if value and not (colon and plain and re.fullmatch(r"\d{1,5}", port) and int(port) < 1 << 16):
        raise ValueError(f'{shown(value)} is no HOST:PORT; write "{LISTEN}", or "" for none')
    return value


Seconds = Annotated[float, BeforeValidator(_seconds)]
Positive = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]
Timeout = Annotated[float, BeforeValidator(_seconds), Field(gt=0, le=60)]  # else it looks hung
Names = tuple[str, ...]


class RootText(Strict):
    """One [[roots]] block."""

    path: str = Field(min_length=1)
    grouping: bool = True
    symlinks: Literal["never", "within-root", "always"] = "never"
    prune: Names = ()
    done_markers: Names = DONE_MARKERS
    labels: Annotated[
        str, BeforeValidator(lambda v: _template(v) if isinstance(v, str) else v)
    ] = ""
    corrupt_grace: Seconds = 600.0
    gpus_per_run: float = Field(default=0.0, ge=0.0)


class RulesText(Strict):
    """[rules]"""

    packs: Names = ()
    disable: Names = ()


class PinText(Strict):
    """One of roles.pins."""

    tag: str = Field(min_length=1)
    role: str = ""
    better: Better | None = None

    @model_validator(mode="after")
    def _known(self) -> PinText:
        if self.role not in ("", "none", *Role):
            raise ValueError(f'unknown role "{self.role}"{did_you_mean(self.role, Role)}')
        if not self.role and self.better is None:
            raise ValueError('a pin needs a role ("none": not to be judged) or better')
        return self


class RolesText(Strict):
    """[roles]"""

    pins: tuple[PinText, ...] = ()


class TeamText(Strict):
    """[teams.NAME]"""

    packs: Names = ()
    roots: Names = ()
    receivers: Names = ()
    members: tuple[Annotated[str, Field(pattern=r"^[UW][A-Z0-9]+$")], ...] = ()


def _each(read: Callable[[str], muting.Range]) -> Any:
    """A list of texts, each of which ``read`` makes a range."""

    def ranges(value: Any) -> Any:
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ValueError(f"{shown(value)} is no list of texts")
        return tuple(read(one) for one in value)

    return Annotated[tuple[muting.Range, ...], BeforeValidator(ranges)]


def _zone(value: Any) -> ZoneInfo:
    try:
        return ZoneInfo(value)
    except (TypeError, ValueError, OSError, ZoneInfoNotFoundError) as error:
        raise ValueError(f'no time zone {shown(value)}; write "Europe/Berlin"') from error


class IntervalText(Strict):
    """One [[time_intervals.NAME]] block."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    times: _each(muting.times) = ()  # type: ignore[valid-type]
    weekdays: _each(muting.weekdays) = ()  # type: ignore[valid-type]
    days_of_month: _each(muting.days_of_month) = ()  # type: ignore[valid-type]
    months: _each(muting.months) = ()  # type: ignore[valid-type]
    years: _each(muting.years) = ()  # type: ignore[valid-type]
    location: Annotated[ZoneInfo, BeforeValidator(_zone)] = ZoneInfo("UTC")


class RouteText(Strict):
    """[route], and each [[route.routes]] in it."""

    receiver: str = ""
    match: dict[str, str] = Field(default_factory=dict)
    group_by: Names = ("root", "run")
    group_wait: Seconds = 0.0
    group_interval: Seconds = 300.0
    repeat_interval: Positive = 86400.0
    min_severity: Severity = Severity.INFO
    go_on: bool = False
    mute_time_intervals: Names = ()
    active_time_intervals: Names = ()
    routes: list[RouteText] = Field(default_factory=list)


class HeartbeatText(Strict):
    """[heartbeat]"""

    url_file: str = ""
    url_credential: str = ""
    every: Annotated[float, BeforeValidator(_seconds), Field(ge=10)] = 300.0


class ConfigText(Strict):
    """The whole file."""

    roots: Annotated[list[RootText], AfterValidator(some)]
    state_dir: str = ""
    poll_interval: Positive = 30.0
    catch_up: Seconds = 3600.0
    checkpoint_every: Positive = 300.0
    shutdown_timeout: Positive = 30.0
    ended_after: Positive = 6 * 3600.0
    min_silence: Positive = MIN_SILENCE
    log_level: _LEVELS = "info"
    listen: Annotated[str, AfterValidator(_address)] = LISTEN
    heartbeat: HeartbeatText | None = None
    rules: RulesText = RulesText()
    roles: RolesText = RolesText()
    owners: dict[str, Annotated[str, Field(pattern=r"^[UW][A-Z0-9]+$")]] = Field(
        default_factory=dict
    )
    teams: dict[str, TeamText] = Field(default_factory=dict)
    receivers: dict[str, dict[str, Any]] = Field(default_factory=dict)
    time_intervals: dict[str, list[IntervalText]] = Field(default_factory=dict)
    route: RouteText | None = None


# ------------------------------------------------------------------------- places


def toml_syntax(error: tomllib.TOMLDecodeError, file: str) -> Problem:
    at_end = re.search(r"^(.*) \(at end of document\)$", str(error))
    if at_end:
        return Problem(file, 0, 0, f"not TOML: {at_end[1]}, at the end of the file")
    match = re.search(r"^(.*) \(at line (\d+), column (\d+)\)$", str(error))
    if match is None:
        return Problem(file, 0, 0, f"not TOML: {error}")
    return Problem(file, int(match[2]), int(match[3]), f"not TOML: {match[1]}")


_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')\s*=")
_BARE = re.compile(r"[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'")


def toml_places(text: str) -> Places:
    """Find the line of each table and key, as far as they stand on a line of their own."""
    places = Places()
    last: dict[Where, int] = {}  # of each array of tables
    table: Where = ()
    for number, line in enumerate(text.splitlines(), 1):
        if match := _HEADER.match(line):
            table = ()
            for part in _BARE.findall(match[2]):
                table = (*table, last[table]) if table in last else table
                table = (*table, part.strip("\"'"))
            if match[1] == "[[":
                last[table] = last.get(table, -1) + 1
                table = (*table, last[table])
            places.keys[table] = (number, 1 + len(line) - len(line.lstrip()))
        elif match := _KEY.match(line):
            where = (*table, match[1].strip("\"'"))
            places.keys.setdefault(where, (number, match.start(1) + 1))
    return places

"""What goes into the store and comes out of it, and how is it written as text?

Values of the file system (runs, tags) are kept in ASCII JSON, so that names which are not valid
UTF-8 survive, and so do NaN and the infinities.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol

from watcher.model import (
    Alert,
    AlertState,
    Notice,
    RunKey,
    RunState,
    Severity,
    Slot,
    Transition,
    WallTime,
)
from watcher.routing import Heard, HeardKey, Silence


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run in the index. ``judged``: how many points of each tag were judged; ``outcome``: of one
    that is over, when it should have stopped.
    """

    run: RunKey
    state: RunState
    attempt: int
    first_seen: WallTime
    last_seen: WallTime
    judged: Mapping[str, int] = field(default_factory=dict)
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Saved:
    """What a service starts from. ``alerts``: of each slot the open alert or the last closed one.

    Closed alerts of earlier attempts are on record, but nothing can come of them any more.
    """

    alerts: dict[RunKey, tuple[Alert, ...]]
    heard: dict[HeardKey, Heard]
    runs: dict[RunKey, RunRow]
    silences: tuple[Silence, ...]
    tick_at: WallTime | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What one tick changed. ``alerts``: all that are now held of each run that changed."""

    tick_at: WallTime
    alerts: Mapping[RunKey, Iterable[Alert]] = field(default_factory=dict)
    transitions: tuple[Transition, ...] = ()
    notices: tuple[Notice, ...] = ()
    heard: Mapping[HeardKey, Heard | None] = field(default_factory=dict)
    runs: tuple[RunRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Owed:
    """A notice to send. ``doubtful``: an earlier try may have reached the receiver after all.

    ``thread`` is the receipt of its group's first message, None if this is to be the first, and
    ``shown`` the alerts as that message shows them.
    """

    notice: Notice
    doubtful: bool
    thread: Mapping[str, str] | None
    shown: tuple[Alert, ...]


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a receiver is doing, for ``status``."""

    receiver: str
    queued: int = 0
    sent: int = 0
    dead: int = 0
    failures: int = 0  # in a row
    paused_until: WallTime = 0.0
    error: str = ""
    sent_at: WallTime | None = None


class Row(Protocol):
    """A row of the database: its columns by name."""

    def __getitem__(self, name: str, /) -> Any:
        """Return a column."""


def as_key(value: object) -> str:
    """Return ASCII JSON: the same for equal values, and safe for names that are no UTF-8."""
    return json.dumps(value, sort_keys=True)


def printable(text: str) -> str:
    """Return ``text`` in a form that any encoding can hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


_FIELDS = frozenset(field.name for field in fields(Alert))


def load_alert(body: dict[str, Any]) -> Alert:
    """Return an alert; what a later version added to it is left out."""
    slot = body.pop("slot")
    run = RunKey(**slot.pop("run"))
    body["severity"] = Severity(body["severity"])
    body["state"] = AlertState(body["state"])
    known = {name: value for name, value in body.items() if name in _FIELDS}
    return Alert(slot=Slot(run=run, **slot), **known)


def load_alerts(text: str | None) -> tuple[Alert, ...]:
    return tuple(load_alert(body) for body in json.loads(text or "[]"))


def dump_alerts(alerts: Iterable[Alert]) -> str:
    return json.dumps([asdict(alert) for alert in alerts])


def load_notice(row: Row) -> Notice:
    return Notice(
        id=row["id"],
        receiver=row["receiver"],
        group_key=row["group_key"],
        alerts=load_alerts(row["alerts"]),
        reason=row["reason"],
        queued_at=row["queued_at"],
        attempts=row["attempts"],
        next_attempt_at=row["next_attempt_at"],
        note=row["note"],
    )


def load_owed(row: Row) -> Owed:
    return Owed(
        notice=load_notice(row),
        doubtful=bool(row["doubtful"]) or row["state"] == "sending",
        thread=json.loads(row["thread"]) if row["thread"] else None,
        shown=load_alerts(row["shown"]),
    )


def load_chartless(row: Row) -> Owed:
    """Return a first message as it stands; ``attempts`` counts the tries to add its chart."""
    receipt, shown = json.loads(row["receipt"]), load_alerts(row["alerts"])
    notice = Notice(
        id=receipt.get("id", ""),
        receiver=row["receiver"],
        group_key=row["group_key"],
        alerts=shown,
        reason="",
        queued_at=row["at"],
        attempts=row["chart_tries"],
    )
    return Owed(notice, doubtful=False, thread=receipt, shown=shown)


def load_run(row: Row) -> RunRow:
    return RunRow(
        RunKey(**json.loads(row["run"])),
        RunState(row["state"]),
        row["attempt"],
        row["first_seen"],
        row["last_seen"],
        json.loads(row["judged"]),
        row["outcome"],
    )


def load_silence(row: Row) -> Silence:
    return Silence(
        row["id"],
        json.loads(row["matchers"]),
        row["starts_at"],
        row["ends_at"],
        row["created_by"],
        row["comment"],
    )


def load_heard(row: Row) -> Heard:
    return Heard(Severity(row["severity"]), row["at"], row["group_key"], row["repeats"])

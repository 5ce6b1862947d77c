"""What do the words mean? The values that flow between the stages; imports nothing of ours.

TensorBoard's words for data (root, run, tag, step, wall time), Prometheus' for alerting.
All times are ``WallTime``: float seconds since the epoch. ``wall_time`` is the training host's
clock, ``observed_at`` is ours; one is never subtracted from the other.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

WallTime = float
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


# ---------------------------------------------------------------------------- data


@dataclass(frozen=True, slots=True, order=True)
class RunKey:
    """A run or run directory: ``root`` as given, ``run`` relative to it (POSIX), ``.`` itself."""

    root: str
    run: str


@dataclass(frozen=True, slots=True)
class Columns:
    """Points in order of recording; point ``i`` belongs to ``tags[tag[i]]``.

    ``tag`` int32[n], ``step`` int64[n], ``wall_time`` and ``value`` float64[n], as recorded.
    """

    tags: tuple[str, ...]
    tag: npt.NDArray[np.int32]
    step: Ints
    wall_time: Floats
    value: Floats

    def __len__(self) -> int:
        """Count the points."""
        return len(self.step)

    def take(self, where: Any) -> Columns:
        """Return the points that ``where`` (a slice, mask or index array) picks, same tags."""
        return Columns(
            self.tags, self.tag[where], self.step[where], self.wall_time[where], self.value[where]
        )


def no_points() -> Columns:
    """Return columns without points."""
    return _NO_POINTS


_NO_POINTS = Columns((), np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0), np.empty(0))


LATE = 300.0  # seconds: no writer keeps its last points back for longer


@dataclass(frozen=True, slots=True)
class Signs:
    """What a run's files say about its end, beside the scalars."""

    finished: str = ""  # why the run counts as complete ("HParams session ended"), "" if no sign
    last: bool = False  # nothing was written after it
    ignored: int = 0  # values that look like scalars and are not one number


@dataclass(frozen=True, slots=True)
class Batch:
    """What is new in one run directory since the last poll.

    ``attempt`` counts from 0. ``fresh`` means that ``points`` is the whole attempt from its first
    point (a new attempt, a resume that superseded points, or a file read again): what was held of
    the directory is dropped first. ``superseded_from`` is the first step a resume took back, None
    if this batch is no resume. The first ``retained`` points of a fresh batch were sent before.
    ``begun`` are the wall times at which files begin that came after others, as by a restart.

    ``observed_at`` is our clock. ``seen_at`` is when the newest bytes arrived as far as we can
    tell: our clock for bytes we saw arrive, the file's own time for what was there before.
    """

    run: RunKey
    attempt: int
    points: Columns
    observed_at: WallTime
    seen_at: WallTime
    fresh: bool = False
    superseded_from: int | None = None
    retained: int = 0
    begun: tuple[WallTime, ...] = ()
    gone: bool = False  # the directory was removed
    signs: Signs = Signs()


class Health(enum.StrEnum):
    """What stands between us and a path."""

    OK = "ok"
    MISSING = "missing"
    DENIED = "permission denied"
    STALE = "stale file handle"
    IO_ERROR = "input/output error"
    TIMED_OUT = "timed out"
    NOT_CONNECTED = "not connected"
    LOOP = "link loop"
    NAME_TOO_LONG = "name too long"
    DAMAGED = "damaged records"
    TRUNCATED = "ends inside a record"
    CONCURRENT = "concurrent writers"
    SKEWED = "clock skew"


@dataclass(frozen=True, slots=True)
class Ailment:
    """One line of health: a path that could not be read wholly, and what was done about it."""

    path: str
    health: Health
    detail: str
    skipped_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Poll:
    """What one look at a root brought."""

    batches: tuple[Batch, ...]
    ailments: tuple[Ailment, ...] = ()
    unreachable: Mapping[str, str] = field(default_factory=dict)  # root -> why


# ---------------------------------------------------------------------------- roles


class Role(enum.StrEnum):
    """What a tag means."""

    TRAIN_LOSS = "train_loss"
    VAL_LOSS = "val_loss"
    TRAIN_METRIC = "train_metric"
    VAL_METRIC = "val_metric"
    LEARNING_RATE = "learning_rate"
    GRAD_NORM = "grad_norm"
    THROUGHPUT = "throughput"
    EPOCH = "epoch"
    LOSS_WEIGHT = "loss_weight"  # of a part of the loss, such as the beta of a variational one
    GAN_LOSS = "gan_loss"  # adversarial: oscillates by design
    RL_LOSS = "rl_loss"  # follows the reward's scale
    REWARD = "reward"


class Better(enum.StrEnum):
    """Which way a metric improves."""

    LOWER = "lower"
    HIGHER = "higher"


@dataclass(frozen=True, slots=True)
class Meaning:
    """A tag's role; ``stem`` is the name without train/val words, which pairs the two sides.

    ``main`` marks the loss a person would look at (``loss``, ``total_loss``), not a component.
    """

    role: Role
    better: Better
    stem: str
    main: bool = False


# ---------------------------------------------------------------------------- rules


class Severity(enum.StrEnum):
    """How loud."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Selector:
    """Which series an input takes: by role, or by a glob over full tags (``train/loss``).

    Several globs stand with ``|`` between them.
    """

    role: Role | None = None
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """How long a condition must last: points of the trigger series, steps, or seconds."""

    amount: float = 0.0
    unit: Literal["points", "steps", "seconds"] = "seconds"


@dataclass(frozen=True, slots=True)
class Rule:
    """One alerting rule, checked and ready. ``params`` is the detector's own dataclass."""

    alert: str
    detector: str
    inputs: Mapping[str, Selector]
    params: Any
    team: str = ""
    match: Mapping[str, str] = field(default_factory=dict)  # label or "run" -> glob, "!" negates
    for_: Hold = Hold()
    keep_firing_for: Hold = Hold()
    severity: Severity | None = None  # None: the detector's own hint
    mode: Literal["live", "shadow"] = "live"
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""  # file:line

    @property
    def id(self) -> str:
        """Name the rule among all teams' rules."""
        return f"{self.team}/{self.alert}" if self.team else self.alert


class Status(enum.StrEnum):
    """What a detector says. UNKNOWN is neither good nor bad: it keeps the alert's state."""

    OK = "ok"
    BREACH = "breach"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A detector's answer.

    ``onset`` and ``best`` are steps: when it began (not when it was noticed), and the point a
    person would go back to. ``value`` and ``best_value`` are in the series' own unit. ``reason``
    is one plain sentence with the numbers in it; ``advice`` a key of ``advice.yaml``.
    """

    status: Status
    reason: str = ""
    onset: int | None = None
    value: float | None = None
    best: int | None = None
    best_value: float | None = None
    severity: Severity | None = None
    advice: str = ""


OK = Verdict(Status.OK)
UNKNOWN = Verdict(Status.UNKNOWN)


# ---------------------------------------------------------------------------- alerts


class AlertState(enum.StrEnum):
    """Where an alert stands. The last three are closings."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"
    ENDED = "ended"  # the run ended while it was firing: not good news
    SUPERSEDED = "superseded"  # a resume took the steps back


@dataclass(frozen=True, slots=True)
class Slot:
    """Where at most one alert is open: one rule on one set of inputs of one attempt of one run."""

    rule: str
    run: RunKey
    attempt: int
    subject: str  # the stem the inputs share ("loss"), "" if the rule has no series


# what finds that the watcher itself ails: a root, and rules or a config
UNREACHABLE, REFUSED = "unreachable", "refused"


@dataclass(frozen=True, slots=True)
class Alert:
    """One finding over its life. Identity: slot and onset; ``fingerprint`` is their digest."""

    fingerprint: str
    slot: Slot
    alert: str
    detector: str
    team: str
    severity: Severity
    state: AlertState
    reason: str
    advice: str  # what usually helps, in words
    advice_key: str
    onset_step: int | None
    best_step: int | None
    best_value: float | None
    value: float | None
    inputs: Mapping[str, str]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    active_at: WallTime  # first breach
    active_step: int | None
    active_points: int  # points of the trigger series at the first breach
    fired_at: WallTime | None = None
    fired_step: int | None = None
    ok_at: WallTime | None = None  # first OK while keep_firing_for runs
    ok_step: int | None = None
    ok_points: int | None = None
    resolved_at: WallTime | None = None
    resolved_step: int | None = None
    shadow: bool = False
    onset_at: WallTime | None = None  # by the run's own clock, as near as it is known
    checkpoint: str = ""  # the last one saved before the best step was passed, below the root

    @property
    def root(self) -> str:
        """The root the run lies under."""
        return self.slot.run.root

    @property
    def run(self) -> str:
        """The run, relative to its root."""
        return self.slot.run.run

    @property
    def attempt(self) -> int:
        """Which try of the run, counted from 0."""
        return self.slot.attempt

    @property
    def open(self) -> bool:
        """Whether the condition is still held to be true."""
        return self.state in (AlertState.PENDING, AlertState.FIRING)


@dataclass(frozen=True, slots=True)
class Transition:
    """One step in an alert's life, with the alert as it is after it. ``before`` None: new."""

    before: AlertState | None
    alert: Alert
    at: WallTime
    escalated: bool = False  # still firing, but louder than before


class RunState(enum.StrEnum):
    """How a run is doing."""

    RUNNING = "running"
    STALLED = "stalled"
    FINISHED = "finished"
    ENDED = "ended"  # stopped without a sign of completion
    GONE = "gone"  # its directory was removed


@dataclass(frozen=True, slots=True)
class Notice:
    """One message owed to one receiver. ``id`` is its dedup key, the same over every retry."""

    id: str
    receiver: str
    group_key: str
    alerts: tuple[Alert, ...]
    reason: str  # why now: "first notification", "resolved", "louder", "repeat"
    queued_at: WallTime
    attempts: int = 0
    next_attempt_at: WallTime = 0.0
    note: str = ""  # what somebody did about it, in mrkdwn of our own: nothing new is said

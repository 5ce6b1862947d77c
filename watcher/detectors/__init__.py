"""Does this window look wrong? One file a detector; this one is the register they enter by.

A detector is a pure function of bounded windows, without memory between calls, so that a restart,
a reload or a replay needs no detector state. It never changes what it is given, never raises on
odd data, and answers UNKNOWN when there is too little of it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from watcher.model import Better, Floats, Verdict, WallTime
from watcher.series import Window

ENTRY_POINTS = "watcher.detectors"


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What is known of the run as a whole, beside its curves. All durations are seconds.

    ``seen_at`` is when the newest bytes arrived, by our clock. ``interval`` is the run's own
    median time between writes and ``longest_pause`` the longest it ever took to go on, both on
    our clock where we watched and on the run's where we did not; NaN while unknown.
    ``finished`` says why the run counts as complete, "" if nothing says so. ``alike``: how many
    neighbours stopped at its last step.
    """

    started_at: WallTime = 0.0
    seen_at: WallTime = 0.0
    interval: float = float("nan")
    longest_pause: float = 0.0
    last_step: int = 0
    points: int = 0
    finished: str = ""
    alike: int = 0
    adversarial: bool = False  # a GAN: losses oscillate by design
    reinforcement: bool = False  # RL: losses follow the reward's scale
    parts: bool = False  # of the loss parts alone are logged, no sum: one of them says little

    @property
    def need_not_fall(self) -> bool:
        """Whether the losses of a healthy run of this kind may stay as high as they are."""
        return self.adversarial or self.reinforcement


@dataclass(frozen=True, slots=True)
class Inputs:
    """The windows that a rule's inputs name. An optional input that the run lacks is absent."""

    windows: Mapping[str, Window]
    run: RunFacts = RunFacts()
    better: Mapping[str, Better] = field(default_factory=dict)  # of each input; losses: lower

    def __getitem__(self, name: str) -> Window:
        """Return the window of ``name``; KeyError if the run has no such series."""
        return self.windows[name]

    def get(self, name: str) -> Window | None:
        """Return the window of ``name``, None if the run has no such series."""
        return self.windows.get(name)


def at_least(params: Any, name: str, least: int) -> None:
    """Refuse a parameter that leaves a method too little. ValueError with what was found."""
    if (found := getattr(params, name)) < least:
        raise ValueError(f"{name} must be at least {least}, found {found}")


Detect = Callable[[Inputs, Any, WallTime], Verdict]
Events = Callable[[Window, Floats, Any], npt.NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class Detector:
    """A registered detector.

    ``inputs`` are the required inputs, the first of them the trigger: the series whose growth
    makes the rule look again. ``optional`` inputs are given where the run has them. ``timed``:
    judged at every tick, by the clock that was handed in (only then may ``now`` decide).
    ``events``, for detectors of events, marks the new values that deserve a look of their own,
    outside the regular checkpoints: ``events(window, values, params)`` gets the window as it is
    before ``values`` (float64[n]) are added and returns bool[n]. The mark of a value must depend
    on the values up to it alone, never on where a poll cut the series.
    """

    name: str
    params: type[Any]
    detect: Detect
    inputs: tuple[str, ...]
    optional: tuple[str, ...] = ()
    timed: bool = False
    events: Events | None = None
    every: bool = False
    begins: Events | None = None

    @property
    def trigger(self) -> str:
        """The input whose growth makes the rule look again; "" if it takes no series."""
        return self.inputs[0] if self.inputs else ""


_registry: dict[str, Detector] = {}
_complete: list[bool] = []  # whether every module was imported


def detector(
    name: str,
    params: type[Any],
    *,
    inputs: tuple[str, ...] = ("value",),
    optional: tuple[str, ...] = (),
    timed: bool = False,
    events: Events | None = None,
    every: bool = False,
    begins: Events | None = None,
) -> Callable[[Detect], Detect]:
    """Register the decorated function as detector ``name``; ``params`` is a frozen dataclass."""

    def register(detect: Detect) -> Detect:
        _registry[name] = Detector(
            name, params, detect, inputs, optional, timed, events, every, begins
        )
        return detect

    return register


def detectors() -> Mapping[str, Detector]:
    """Return every detector by name: ours, and those of installed packages' entry points."""
    if not _complete:
        for module in pkgutil.iter_modules(__path__):
            if not module.name.startswith("_"):
                importlib.import_module(f"{__name__}.{module.name}")
        for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
            entry.load()
        _complete.append(True)
    return _registry

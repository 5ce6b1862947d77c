"""What does it look like? A small zoo of trainings that go wrong, live, with alerts.

The runs are real event files, written by TensorBoard's own writer into a directory of their own
and followed by the service as it is; only the stall comes sooner than in earnest.
"""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from watcher.clock import Clock, SystemClock
from watcher.model import Rule, WallTime

STEPS = 400
EVERY = 10  # steps between evaluations
_LINGER = 4.0  # seconds for the last polls and messages, after the last step
_STALL = 10.0  # seconds of silence that count as a stall here: nobody waits five minutes

Scalars = Mapping[str, float]
Training = Callable[[int, np.random.Generator], Scalars | None]


@dataclass(frozen=True, slots=True)
class Animal:
    """One training: its run directory, what it shows, and its scalars at a step (None: over)."""

    run: str
    shows: str
    at: Training


def _falling(step: int, rng: np.random.Generator, floor: float = 0.4) -> float:
    clean = floor + (2.3 - floor) * (1 + step / 25) ** -0.8
    return float(clean * math.exp(rng.normal(0, 0.03)))


def _rate(step: int) -> float:
    return 1e-3 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / STEPS)))


def _healthy(step: int, rng: np.random.Generator) -> Scalars:
    said = {"train/loss": _falling(step, rng), "train/learning_rate": _rate(step)}
    if step % EVERY == 0:
        said["eval/loss"] = 1.05 * _falling(step, rng)
    return said


def _explodes(step: int, rng: np.random.Generator) -> Scalars:
    return {**_healthy(step, rng), **({"train/loss": math.nan} if step >= 180 else {})}


def _diverges(step: int, rng: np.random.Generator) -> Scalars:
    worse = math.exp((step - 150) / 70) if step > 150 else 1.0
    said = dict(_healthy(step, rng))
    return {k: v * worse if k.endswith("loss") else v for k, v in said.items()} | {
        "train/learning_rate": 1e-2
    }


def _memorises(step: int, rng: np.random.Generator) -> Scalars:
    said = dict(_healthy(step, rng)) | {"train/learning_rate": 3e-4}
    said["train/loss"] = _falling(step, rng, floor=0.02)
    if "eval/loss" in said:
        rise = 0.004 * max(0, step - 120)
        said["eval/loss"] = (_falling(min(step, 120), rng, 0.5) + rise) * 1.02
    return said


def _stuck(step: int, rng: np.random.Generator) -> Scalars:
    noise = math.exp(rng.normal(0, 0.004))
    return {"train/loss": math.log(10) * noise, "train/learning_rate": 1e-7}


def _hangs(step: int, rng: np.random.Generator) -> Scalars | None:
    return {**_healthy(step, rng), "train/learning_rate": 1e-3} if step < 200 else None


ZOO: tuple[Animal, ...] = (
    Animal("vision/resnet50-baseline", "healthy", _healthy),
    Animal("vision/resnet50-fp16", "the loss turns NaN", _explodes),
    Animal("vision/resnet50-lr10x", "the loss diverges", _diverges),
    Animal("nlp/bert-small-data", "overfits", _memorises),
    Animal("nlp/bert-frozen", "never leaves chance level", _stuck),
    Animal("nlp/bert-8gpu", "hangs and stops writing", _hangs),
)


def zoo_rules(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """Return the shipped rules with a stall that is noticed within seconds."""
    return tuple(
        dataclasses.replace(r, params=dataclasses.replace(r.params, min_silence=_STALL))
        if r.detector == "stalled"
        else r
        for r in rules
    )


def write_zoo(logdir: Path, seconds: float, stop: threading.Event, clock: Clock) -> None:
    """Write every training of the zoo under ``logdir``, a step at a time, over ``seconds``."""
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writers = [EventFileWriter(str(logdir / animal.run), flush_secs=1) for animal in ZOO]
    sources = [np.random.default_rng([7, i]) for i in range(len(ZOO))]
    for step in range(STEPS):
        for animal, writer, rng in zip(ZOO, writers, sources, strict=True):
            scalars = animal.at(step, rng)
            if scalars is not None:
                writer.add_event(_event(clock.now(), step, scalars))
                writer.flush()
        if stop.wait(seconds / STEPS):
            break
    for writer in writers:
        writer.close()


def _event(now: WallTime, step: int, scalars: Scalars) -> object:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
    return Event(wall_time=now, step=step, summary=Summary(value=values))


def show(seconds: float, keep: Path | None, say: Callable[[str], None]) -> int:
    """Train the zoo for ``seconds`` under the service's eyes; 1 if it missed one, else 0."""
    from watcher.config import default_config
    from watcher.daemon import ready

    with ExitStack() as stack:
        logdir = keep or Path(stack.enter_context(TemporaryDirectory(prefix="watcher-demo-")))
        logdir.mkdir(parents=True, exist_ok=True)
        say(f"{len(ZOO)} trainings write event files under {logdir} for {seconds:.0f} s:")
        for animal in ZOO:
            say(f"  {animal.run:<24} {animal.shows}")
        say("the watcher follows them; this is what it says:")
        config = dataclasses.replace(default_config([str(logdir)]), poll_interval=1.0)
        service = stack.enter_context(ready(config))
        plan = service.engine.plan
        service.engine.plan = dataclasses.replace(plan, rules=zoo_rules(plan.rules))
        stack.enter_context(service.running())
        write_zoo(logdir, seconds, service.stopping, SystemClock())
        service.stopping.wait(_LINGER)
        root = service.engine.roots[str(logdir)]
        found = {alert.run for alert in root.state.alerts() if alert.fired_at is not None}
        meant = {animal.run for animal in ZOO if animal.at is not _healthy}
        say(
            f"{len(found & meant)} of {len(meant)} faults found, {len(found - meant)} false alarms"
        )
        return 0 if found == meant else 1

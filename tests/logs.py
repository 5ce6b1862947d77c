"""Writes event files as TensorBoard does, with wall times of one's own: what tests read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

T0 = 1_700_000_000.0


class EventLog:
    """One event file that grows. Records are framed by TensorBoard's own writer."""

    def __init__(self, directory: Path, start: float = T0, name: str = "host.1.0") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / f"events.out.tfevents.{int(start)}.{name}"
        self._file = self.path.open("ab")
        self._writer = RecordWriter(self._file)
        self._writer.write(
            Event(wall_time=start, file_version="brain.Event:2").SerializeToString()
        )
        self._file.flush()

    def add(self, step: int, scalars: Mapping[str, float], wall_time: float | None = None) -> None:
        """Append one event that holds ``scalars``; one minute a step unless told."""
        at = T0 + 60.0 * step if wall_time is None else wall_time
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        event = Event(wall_time=at, step=step, summary=Summary(value=values))
        self._writer.write(event.SerializeToString())
        self._file.flush()

    def add_event(self, event: Event) -> None:
        """Append any event."""
        self._writer.write(event.SerializeToString())
        self._file.flush()

    def close(self) -> None:
        """Close the file; an event file has no end marker."""
        self._file.close()


def write_run(
    directory: Path,
    series: Mapping[str, Iterable[float]],
    *,
    first_step: int = 0,
    seconds: float = 60.0,
    start: float = T0,
) -> Path:
    """Write whole series, one point a step each, and return the event file."""
    log = EventLog(directory, start)
    rows = {tag: list(values) for tag, values in series.items()}
    for i in range(max(len(values) for values in rows.values())):
        scalars = {tag: values[i] for tag, values in rows.items() if i < len(values)}
        log.add(first_step + i, scalars, start + seconds * i)
    log.close()
    return log.path

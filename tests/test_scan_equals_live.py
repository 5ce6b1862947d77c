"""Following a run while it grows says what scanning it afterwards says."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import watcher
from tests.logs import T0, EventLog

SHAPES = ("healthy", "nan", "diverges", "overfits", "jumps", "stuck")


def curve(shape, n, seed):
    """Train and validation loss of ``n`` points, in one of several shapes."""
    rng = np.random.default_rng(seed)
    u = np.arange(n) / n
    train = (0.3 + 2.0 * np.exp(-6 * u)) * np.exp(rng.normal(0, 0.03, n))
    val = (0.35 + 2.0 * np.exp(-6 * u)) * np.exp(rng.normal(0, 0.01, n))
    late = u > 0.5
    if shape == "nan":
        train[late] = np.nan
    elif shape == "diverges":
        train[late] *= np.exp(4 * (u[late] - 0.5))
    elif shape == "overfits":
        val[late] *= 1 + 2 * (u[late] - 0.5)
        train *= np.exp(-2 * u)
    elif shape == "jumps":
        train[late] *= 5
    elif shape == "stuck":
        train = np.log(10) * np.exp(rng.normal(0, 0.003, n))
        val = np.log(10) * np.exp(rng.normal(0, 0.001, n))
    return train, val


def write(directory, shape, n, seed, keras):
    train, val = curve(shape, n, seed)
    logs = [EventLog(directory / d) for d in (("train", "validation") if keras else ("",))]
    tags = ("epoch_loss", "epoch_loss") if keras else ("train/loss", "val/loss")
    for i in range(n):
        logs[0].add(i, {tags[0]: train[i]}, T0 + 60.0 * i)
        if i % 5 == 4:
            logs[-1].add(i, {tags[1]: val[i]}, T0 + 60.0 * i + 1.0)
    for log in logs:
        log.close()


def records(path):
    """Yield (wall time of the record's event, its bytes) of an event file."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 8], "little")
        end = at + 16 + length
        yield float(np.frombuffer(data[at + 13 : at + 21], "<f8")[0]), data[at:end]
        at = end


def told(alerts):
    return sorted((a.detector, a.run, a.attempt, a.onset_step, a.fired_step) for a in alerts)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(SHAPES),
    st.integers(20, 400),
    st.integers(0, 10_000),
    st.booleans(),
    st.lists(st.floats(0, 1), max_size=12),
)
def test_live_and_scan_give_the_same_alerts_with_the_same_onsets(shape, n, seed, keras, cuts):
    whole, grown = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
    try:
        write(whole / "run", shape, n, seed, keras)
        scanned = watcher.scan(whole)
        session, heard = watcher.Session(grown), {}
        files = {p: list(records(p)) for p in sorted(whole.rglob("*tfevents*"))}
        end = T0 + 60.0 * n + 2.0
        for now in [*sorted(T0 + 60.0 * n * c for c in cuts), end]:
            for path, rest in files.items():
                copy = grown / path.relative_to(whole)
                copy.parent.mkdir(parents=True, exist_ok=True)
                with copy.open("ab") as file:
                    while rest and rest[0][0] <= now:
                        file.write(rest.pop(0)[1])
            heard |= {a.fingerprint: a for a in session.tick(now)}
        live = [a for a in heard.values() if a.detector != "stalled"]
        assert told(live) == told(scanned)
    finally:
        shutil.rmtree(whole)
        shutil.rmtree(grown)

"""What did the validation metric do meanwhile? Its values turned so that higher is better."""

from __future__ import annotations

from watcher.detectors import Inputs
from watcher.detectors._trend import finite
from watcher.model import Better, Floats, Ints


def metric_of(inputs: Inputs) -> tuple[Ints, Floats] | None:
    """Return steps and values of the input ``metric``, None if the run logs none."""
    metric = inputs.get("metric")
    if metric is None:
        return None
    step, value = finite(metric)
    return step, -value if inputs.better.get("metric") is Better.LOWER else value

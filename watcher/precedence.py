"""One fault, one alert: which finding makes which others of the same run not worth saying?

While an alert fires, verdicts that it silences count as UNKNOWN for the same attempt of the run:
nothing new is said, and what is already firing stays. A message is not sent for what is silenced.
A hint silences hints alone.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

# that it is not learning (any more), in whichever words
LEARNING = frozenset({"plateau", "underfitting", "slow_learning", "frozen", "flat_return"})

# The stronger finding, and the weaker ones that it silences. Free of loops.
SILENCES: Mapping[str, frozenset[str]] = {
    # nothing that is said of numbers holds once they are NaN
    "nan": LEARNING
    | {"divergence", "spike", "overfitting", "oscillation", "erratic", "vanished"}
    | {"stalled", "throughput"},
    # a loss that left its best for good is not also stuck, overfitted or spiking
    "divergence": LEARNING | {"spike", "overfitting", "erratic"},
    # the swings themselves look like spikes and rises, and stop the descent
    "oscillation": LEARNING | {"spike", "overfitting", "erratic"},
    # validation that rises has stopped improving as well
    "overfitting": LEARNING | {"erratic"},
    "collapse": frozenset({"flat_return"}),
    "stalled": frozenset({"throughput"}),
}

# Names for much the same: the first that is said stays the only one, unless another is worse.
FIRST_COME: tuple[frozenset[str], ...] = (
    LEARNING,
    frozenset({"divergence", "oscillation"}),
)

# What these find is what the rule's author wrote: two rules share a detector, not a fault.
OWN_WORDS = frozenset({"expression", "expression_timed", "threshold"})


def silenced(detector: str, firing: Iterable[str]) -> bool:
    """Whether a finding of ``detector`` goes without saying while ``firing`` detectors fire."""
    return any(detector in SILENCES.get(other, ()) for other in firing)


@functools.cache
def alike(detector: str, other: str) -> bool:
    """Whether two detectors say much the same, each in its own words."""
    return other != detector and any({other, detector} <= group for group in FIRST_COME)

"""Is this the loss of a model that answers at random? The logarithm of the number of classes."""

from __future__ import annotations

import math

# Class counts whose logarithm is a level a person knows. Not every number: from some dozens on
# the logarithms lie closer together than a loss can be told apart.
CLASSES = (*range(2, 21), 100, 200, 1000, 21841, 30522, 32000, 50257, 50304, 128256)
TRAINING, VALIDATION = 0.002, 0.02  # of ln(k): how near two curves at rest must be
COMMON = (2, 10, 100, 1000)  # for curves that came down to a level which may be anything


def at_chance(level: float, near: float, among: tuple[int, ...] = CLASSES) -> int | None:
    """Return k if ``level`` is ln(k) but for this part of it, None if it is no level of chance."""
    return next((k for k in among if abs(level / math.log(k) - 1) <= near), None)


def both_at_chance(training: float, validation: float) -> int | None:
    """Return k if both rest at ln(k), a level that is unlikely to be met by accident."""
    classes = at_chance(training, TRAINING, COMMON)
    return classes if classes == at_chance(validation, VALIDATION, COMMON) else None


def named(classes: int) -> str:
    """Say which level that is."""
    return f"chance level, ln({classes}) = {math.log(classes):.4f}"

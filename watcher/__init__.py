"""Follows TensorBoard event files and says when a training goes wrong.

``read_scalars`` and ``read_series`` give the points, ``scan`` says what would have been alerted,
a ``Session`` follows a log directory while it grows.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from watcher._version import __version__
from watcher.errors import DamageWarning, InvalidInput, LogdirError, WatcherError

if TYPE_CHECKING:
    from watcher.api import Session, scan
    from watcher.frames import Series, read_scalars, read_series
    from watcher.model import Alert

__all__ = [
    "Alert",
    "DamageWarning",
    "InvalidInput",
    "LogdirError",
    "Series",
    "Session",
    "WatcherError",
    "__version__",
    "read_scalars",
    "read_series",
    "scan",
]

# numpy and pandas are imported when they are first needed: the command line starts without them
_LAZY = {
    "Alert": "watcher.model",
    "Series": "watcher.frames",
    "Session": "watcher.api",
    "read_scalars": "watcher.frames",
    "read_series": "watcher.frames",
    "scan": "watcher.api",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

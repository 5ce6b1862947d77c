"""Follows TensorBoard event files and says when a training goes wrong."""

from watcher._version import __version__

__all__ = ["__version__"]

"""How are windows and cursors kept over a restart? One file, replaced as a whole.

It saves a re-read and nothing else, so whatever is doubtful about it is a reason to do without.
It is a pickle: it is read only if it is ours, and only the watcher that wrote it reads it.

Layout: one line that names format and version, pickles one after another, 32 bytes of SHA-256 over
all of it. Several pickles, since writing one holds on to all that goes into it until its end.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pickle
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from watcher._version import __version__
from watcher.errors import StoreError

_log = logging.getLogger(__name__)
_HEADER = f"watcher checkpoint 4 {__version__}\n".encode()
_DIGEST = 32  # bytes
_BLOCK = 1 << 20


class _Unusable(Exception):
    """Why a checkpoint is not used."""


def save_checkpoint(path: Path, parts: Iterable[Any]) -> None:
    """Replace the checkpoint by ``parts``: whole or not at all, mode 0600.

    StoreError if it cannot be written; the old one then stays as it was.
    """
    made = None
    try:
        handle, made = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            _write(file, parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(made, path)  # noqa: PTH105 - both are plain strings
        _sync_directory(path.parent)
    except OSError as error:
        raise StoreError(
            f"{path}: checkpoint not written ({error.strerror}); a restart will read again"
        ) from error
    finally:
        if made is not None:
            with contextlib.suppress(OSError):
                Path(made).unlink()


def load_checkpoint(path: Path) -> list[Any] | None:
    """Return the saved parts, None if there are none or they cannot be trusted (logged)."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags), "rb") as file:
            end = _check(file)
            parts = []
            while file.tell() < end:
                parts.append(pickle.load(file))
            return parts
    except FileNotFoundError:
        return None
    except _Unusable as why:
        reason = str(why)
    except Exception as error:  # noqa: BLE001 - unpickling may raise anything; a re-read heals it
        reason = f"{type(error).__name__}: {error}"
    _log.warning("checkpoint not used path=%s reason=%r action=reading again", path, reason)
    return None


def _write(file: BinaryIO, parts: Iterable[Any]) -> None:
    digest = _Digesting(file)
    digest.write(_HEADER)
    for part in parts:
        pickle.dump(part, digest, protocol=pickle.HIGHEST_PROTOCOL)
    file.write(digest.sha256.digest())


class _Digesting:
    """Passes bytes on and digests them on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Write and digest."""
        self.sha256.update(data)
        return self._file.write(data)


def _check(file: BinaryIO) -> int:
    """Leave ``file`` at the first pickle and return where the last ends, or say what is wrong."""
    info = os.fstat(file.fileno())
    if not stat.S_ISREG(info.st_mode):
        raise _Unusable("not a regular file")
    if info.st_uid != os.geteuid():
        raise _Unusable("it belongs to another user")
    if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _Unusable("others may write to it")
    if file.read(len(_HEADER)) != _HEADER:
        raise _Unusable("written by another version, or no checkpoint at all")
    digest = hashlib.sha256(_HEADER)
    left = info.st_size - len(_HEADER) - _DIGEST
    while left > 0 and (block := file.read(min(left, _BLOCK))):
        digest.update(block)
        left -= len(block)
    if file.read(_DIGEST) != digest.digest():
        raise _Unusable("damaged")
    file.seek(len(_HEADER))
    return info.st_size - _DIGEST


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Which saved model does a person go back to? Looks for checkpoints beside a run's event files.

Names say the step they were saved at: ``epoch=3-step=500.ckpt``, ``checkpoint-500``,
``model.ckpt-500.index``, ``ckpt_500.pt``, ``iter_500.pth``. Names that say an epoch only tell
nothing about a step, and are left alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import PurePath

_STEP = re.compile(
    r"(?:global_?step|step|iter(?:ation)?|checkpoint|ckpt)s?[=_.-]{0,2}0*(\d{1,18})(?!\d)", re.I
)
_FOLDERS = re.compile(r"(?:checkpoint|ckpt|weight|model|save)", re.I)
_LOGS = frozenset({"runs", "logs", "log", "tensorboard", "tb", "tb_logs", "events"})
_MOST = 5000  # names that are looked at: a search must not hold up the reading


def find_checkpoint(root: str, run: str, step: int) -> str:
    """Return the last checkpoint of a run saved at or before ``step``, as a path below ``root``.

    "" if there is none. Looks into the run's directory, its folders of checkpoints, and, if it
    lies in a folder of logs (``out/runs/NAME``), beside that folder. Unreadable places are
    passed over; nothing is opened.
    """
    best, found = -1, ""
    for path in islice(_entries(root, run), _MOST):
        match = _STEP.search(os.path.basename(path))  # noqa: PTH119 - bytes that are no UTF-8
        if match and best < int(match[1]) <= step:
            best, found = int(match[1]), path
    return os.path.relpath(found, root) if found else ""


def _entries(root: str, run: str) -> Iterator[str]:
    here = os.path.normpath(os.path.join(root, run))  # noqa: PTH118
    yield from _with_folders(here)
    place = PurePath(run)
    for up, name in enumerate(place.parts[::-1]):
        if name.lower() in _LOGS and up <= 2:
            outer = place.parents[up] if up < len(place.parents) else None
            if outer is not None:
                yield from _with_folders(os.path.normpath(os.path.join(root, outer)))  # noqa: PTH118
            return


def _with_folders(directory: str) -> Iterator[str]:
    """Yield what is in a directory, and what is in its folders of checkpoints."""
    for entry in _scan(directory):
        yield entry.path
        if _FOLDERS.search(entry.name) and entry.is_dir(follow_symlinks=False):
            yield from (inner.path for inner in _scan(entry.path))


def _scan(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return sorted(islice(entries, _MOST), key=lambda entry: entry.name)
    except OSError:
        return []

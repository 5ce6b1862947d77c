"""What is mounted where, and is it local? The kernel is asked, not the mount, which may hang."""

from __future__ import annotations

import os
import re
from pathlib import Path

_LOCAL = frozenset(
    (
        *("apfs", "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "iso9660", "jfs"),
        *("ntfs3", "overlay", "ramfs", "reiserfs", "rootfs", "squashfs", "tmpfs", "vfat", "xfs"),
        "zfs",
    )
)
MOUNTS = Path("/proc/self/mounts")
_ESCAPED = re.compile(r"\\([0-7]{3})")


def is_local(path: str, mounts: Path = MOUNTS) -> bool:
    """Whether a path is on a file system known to be local; False where nothing tells."""
    _, kind = mount_of(path, mounts)
    return kind in _LOCAL


def mount_of(path: str, mounts: Path = MOUNTS) -> tuple[str, str]:
    """Return where the file system that holds ``path`` is mounted, and its kind; "" if unknown.

    Links on the way are not followed, for that would ask the mount.
    """
    here = os.path.abspath(path) + "/"  # noqa: PTH100
    longest, found = "", ""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return "", ""
    for fields in (line.split(" ") for line in lines):
        if len(fields) < 3:
            continue
        _, place, kind, *_ = fields
        place = _ESCAPED.sub(lambda m: chr(int(m[1], 8)), place).rstrip("/") + "/"
        if here.startswith(place) and len(place) >= len(longest):  # a later one hides an earlier
            longest, found = place, kind
    return longest.rstrip("/") or "/", found

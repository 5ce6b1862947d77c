"""Is this path on a network mount? The kernel is asked, not the mount, which may hang."""

from __future__ import annotations

import os
import re
from pathlib import Path

_NETWORK = frozenset(
    (
        *("9p", "afs", "beegfs", "ceph", "cifs", "davfs", "glusterfs", "gpfs", "lustre", "nfs"),
        *("nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "virtiofs", "wekafs"),
    )
)
_ESCAPED = re.compile(r"\\([0-7]{3})")


def is_network(path: str, mounts: Path = Path("/proc/self/mounts")) -> bool:
    """Whether a path is on a network mount; False where the kernel has no such list.

    Links on the way are not followed, for that would ask the mount.
    """
    here = os.path.abspath(path) + "/"  # noqa: PTH100
    longest, found = -1, ""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return False
    for line in lines:
        _, place, kind, *_ = [*line.split(" "), "", ""]
        place = _ESCAPED.sub(lambda m: chr(int(m[1], 8)), place).rstrip("/") + "/"
        if here.startswith(place) and len(place) >= longest:  # the later one hides the earlier
            longest, found = len(place), kind
    return found in _NETWORK or found.startswith("fuse.")

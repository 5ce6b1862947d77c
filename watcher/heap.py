"""Give back to the system what was only needed for a moment: at the start, for a checkpoint.

The C library keeps freed memory between what is still in use; where it is asked (glibc), it hands
whole pages back. Elsewhere nothing is done: it is only a matter of size.
"""

from __future__ import annotations

import ctypes


def give_back() -> bool:
    """Return unused pages of the heap to the system; say whether the C library can."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return False
    trim(0)
    return True

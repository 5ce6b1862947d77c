"""How is memory treated where much is made, or thrown away, at once?

The C library keeps freed memory between what is still in use; where it is asked (glibc), it hands
whole pages back. Elsewhere nothing is done: it is only a matter of size.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

_FILLING = 50_000  # objects made between two searches for garbage; the interpreter's own is 700


@contextmanager
def filling() -> Iterator[None]:
    """Search seldom for garbage, as long as the context lasts: what is made now stays.

    Each search goes through all that was made before, and finds none; over thousands of new runs
    that is a tenth of the time of reading them. Whoever set it higher, or off, has it his way.
    """
    before = gc.get_threshold()
    if not 0 < before[0] < _FILLING:
        yield
        return
    gc.set_threshold(_FILLING, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def give_back() -> bool:
    """Return unused pages of the heap to the system; say whether the C library can."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return False
    trim(0)
    return True

"""Memory that goes back to the system: pieces of weights pass through a coordinator, and none stays."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def give_back_freed_memory() -> None:
    """Have the C library hand what is freed back to the system (malloc_trim(3)).

    Left to itself glibc keeps it, in each thread's arena by itself, and gRPC's pieces come on many threads:
    when 4 hospitals have sent 100 MB each it keeps about as much as a model. Done once a round; to have every
    piece given back at once (mallopt(3), ``M_MMAP_THRESHOLD``) made a round take half as long again.
    Elsewhere than with glibc this does nothing.
    """
    _trim()(0)


@cache
def _trim() -> Callable[[int], int]:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return lambda _: 0
    return found

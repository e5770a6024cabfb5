"""Memory that goes back to the system when it is freed: pieces of weights pass through a coordinator."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import cache

LARGEST_KEPT_BYTES = 64 * 1024
MOST_ARENAS = 2

# The names in <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


@cache
def give_back_freed_memory() -> None:
    """Have the C library hand freed blocks back to the system from 64 KiB on (mallopt(3)).

    Left to itself, glibc adapts to the largest block that it has seen freed, and keeps what is smaller, for
    each thread's arena by itself. gRPC's pieces of weights come on many threads: with 4 hospitals that send
    100 MB each, as much as a whole model was kept, with 16 nearly two. A piece now costs a call of the system
    and its page faults, which is little beside hashing it. Elsewhere than with glibc this does nothing.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, LARGEST_KEPT_BYTES)
        mallopt(_M_ARENA_MAX, MOST_ARENAS)

"""Memory that is used again instead of given back and asked for anew in every step."""

from __future__ import annotations

from functools import cache

import numpy as np

LARGEST_BLOCK_BYTES = 2**25 - 2**16
"""Just below the largest block for which glibc adapts (``DEFAULT_MMAP_THRESHOLD_MAX``)."""


@cache
def keep_freed_memory() -> None:
    """Have the C library keep up to 64 MB of freed memory instead of handing it back to the system.

    glibc gives the end of its heap back once more is free there than twice the largest block that it has
    seen freed (mallopt(3), ``M_TRIM_THRESHOLD``). A training step frees megabytes at once, and every page
    that was given back costs a page fault in the next step: up to a sixth of a step. So it is shown one
    large block, once, which is never touched. Elsewhere this does nothing.
    """
    np.empty(LARGEST_BLOCK_BYTES, np.uint8)

"""Parts of an encoded array, looked at before anything is made of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UpdateRefused

PIECE = 2**16
"""Values that are worked at together: 256 KiB of float32, which stay in a core's cache."""


def spans(size: int) -> Iterator[slice]:
    """Where the pieces of so many values lie."""
    for start in range(0, size, PIECE):
        yield slice(start, min(start + PIECE, size))


def checked(part: NDArray[Any], what: str, size: int, *dtypes: type[np.generic]) -> NDArray[Any]:
    """The part, if it is a vector of this length and of one of these types.

    Raises:
        UpdateRefused: It is another array.
    """
    if part.shape != (size,) or part.dtype not in dtypes:
        raise UpdateRefused(f"{what} are {part.dtype}{part.shape}, not {dtypes[0].__name__}({size},)")
    return part

"""``codec = "float32"``: every array travels as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UpdateRefused


@dataclass(frozen=True, slots=True)
class Float32:
    """The codec that encodes nothing; it has no parts, so it is never asked to."""

    parts: tuple[str, ...] = ()
    feedback: bool = False

    def encode(self, values: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Nothing: whole arrays travel."""
        return {}

    def decode(self, parts: Mapping[str, NDArray[Any]], size: int) -> NDArray[np.float32]:
        """Nothing can be decoded.

        Raises:
            UpdateRefused: Always.
        """
        raise UpdateRefused("float32 has no parts to decode")


FLOAT32 = Float32()

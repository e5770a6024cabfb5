"""What every codec can do, and which one a study names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common.codecs.bf16 import BF16
from common.codecs.float32 import FLOAT32
from common.codecs.int8 import INT8
from common.codecs.topk import TopK
from common.study import Federation


class Codec(Protocol):
    """From the values of one array to parts, which travel as arrays of their own, and back.

    Attributes:
        parts: Names of the parts; none for a codec that leaves arrays as they are.
        feedback: Whether what an update leaves out is added to the next one (error feedback: Seide et al.
            2014, "1-Bit Stochastic Gradient Descent"; Karimireddy et al. 2019, "Error Feedback Fixes
            SignSGD").
    """

    @property
    def parts(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def feedback(self) -> bool: ...  # noqa: D102

    def encode(self, values: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """The parts of an array's values, by name.

        Values that are not finite stay so, in the parts or when these are decoded: the gate notices them.

        Args:
            values: (N,), in C order, N at least 1.
        """
        ...

    def decode(self, parts: Mapping[str, NDArray[Any]], size: int) -> NDArray[np.float32]:
        """The values that the parts stand for: (size,).

        Args:
            parts: One array for each name in ``parts``, of any form.
            size: How many values there must be.

        Raises:
            UpdateRefused: They are not what this codec makes of so many values.
        """
        ...


def codec_of(federation: Federation) -> Codec:
    """The codec that a study's ``[federation]`` names."""
    match federation.codec:
        case "float32":
            return FLOAT32
        case "bf16":
            return BF16
        case "int8":
            return INT8
        case "topk":
            assert federation.codec_fraction is not None  # noqa: S101  the study's section sees to it
            return TopK(federation.codec_fraction)

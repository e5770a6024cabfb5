"""The shape of a model as a digest: which arrays it has, and of what form."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from common.chain import canonical


class Shaped(Protocol):
    """An array, as far as its form: NumPy's and Flower's are."""

    @property
    def dtype(self) -> Any:
        """``float32`` and the like, as ``str`` spells it."""

    @property
    def shape(self) -> Sequence[int]:
        """Length of each axis."""


def model_digest(arrays: Mapping[str, Shaped]) -> str:
    """SHA-256 over name, dtype and shape of every array in name order, in hex; no value enters it."""
    forms = {name: [str(array.dtype), [int(n) for n in array.shape]] for name, array in arrays.items()}
    return hashlib.sha256(canonical(forms)).hexdigest()

"""Class weights from counts that sites state."""

from __future__ import annotations

from collections.abc import Sequence


def balanced_weights(counts: Sequence[int]) -> tuple[float, ...]:
    """Weights that let each class that occurs count the same in total; their mean over the cases is one."""
    present = sum(1 for count in counts if count)
    return tuple(sum(counts) / (present * count) if count else 0.0 for count in counts)

"""How the grid that a model reads lies in the pictures that were given, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client.tensors import grid_distances
from common.study import Study

Shape = tuple[int, int, int]
SpacingMm = tuple[float | None, float | None, float | None]
NO_SPACING: SpacingMm = (None, None, None)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a case's own pixels lie on the study's grid; both have the same middle.

    Attributes:
        shape: T, H, W of the pictures that were given.
        apart: How many of their pictures, rows and columns lie between two of the grid's.
        spacing_mm: Between their pictures, rows and columns; None where not known.
    """

    shape: Shape
    apart: tuple[float, float, float]
    spacing_mm: SpacingMm = NO_SPACING

    @classmethod
    def of(cls, shape: Sequence[int], study: Study, spacing_mm: SpacingMm = NO_SPACING) -> Layout:
        """The layout of pictures that the study's model can read.

        Raises:
            CaseTooWide, CohortUnsuitable: It cannot.
        """
        count, height, width = shape
        between, rows, columns = spacing_mm
        known = None if rows is None or columns is None else (between, rows, columns)
        apart = grid_distances((count, height, width), known, study)
        return cls((count, height, width), apart, spacing_mm)

    def laid_back(self, field: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(T, H, W) of a mask (T', size, size) on the grid: for each pixel the nearest of the grid's."""
        laid = field
        for axis, (own, apart) in enumerate(zip(self.shape, self.apart, strict=True)):
            wanted = field.shape[axis]
            place = (np.arange(own) - (own - 1) / 2) / apart + (wanted - 1) / 2
            nearest = np.clip(np.floor(place + 0.5), 0, wanted - 1).astype(np.int64)
            laid = np.take(laid, nearest, axis=axis)
        return laid

    def box(self, fractions: Sequence[float], size: int) -> tuple[float, float, float, float]:
        """Top, left, bottom, right in pixels of the given picture, of a box in fractions of the grid."""
        _, height, width = self.shape
        _, rows, columns = self.apart
        top, left, bottom, right = fractions
        return (
            _side(top, size, height, rows),
            _side(left, size, width, columns),
            _side(bottom, size, height, rows),
            _side(right, size, width, columns),
        )

    def picture(self, step: int, steps: int) -> int:
        """Which of the given pictures lies nearest to a step, from 0 on."""
        count, apart = self.shape[0], self.apart[0]
        place = (count - 1) / 2 + (step - (steps - 1) / 2) * apart
        return int(min(max(np.floor(place + 0.5), 0), count - 1))

    @property
    def pixel_mm2(self) -> float | None:
        """Area of a pixel, where known."""
        _, rows, columns = self.spacing_mm
        return None if rows is None or columns is None else rows * columns

    @property
    def voxel_ml(self) -> float | None:
        """Volume of a pixel of a stack, where known."""
        between, area = self.spacing_mm[0], self.pixel_mm2
        return None if between is None or area is None else abs(between) * area / 1000


def _side(fraction: float, size: int, own: int, apart: float) -> float:
    return float(min(max(own / 2 + (fraction - 0.5) * size * apart, 0.0), float(own)))

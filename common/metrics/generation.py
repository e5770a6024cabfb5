"""Counts and metrics of generation: how likely a model holds the pictures that a hospital has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.metrics.sums import Array, EvaluationSums, Figure, check_like, ratio


@dataclass(frozen=True, slots=True, eq=False)
class GenerationSums(EvaluationSums):
    """Counts over n pictures of C classes; ``loss`` is that of whole pictures.

    Attributes:
        pictures: (C,) int64 pictures of each class.
        pixels: (C,) int64 their pixels.
        nats: (C,) float64 summed negative log-likelihood of their pixels' levels.
    """

    FIGURES: ClassVar[tuple[Figure, ...]] = (
        Figure("bits_per_dim", "Bits per pixel", higher_is_better=False, share=False),
    )
    MOST_LOSS: ClassVar[float] = 28.0 * 1024 * 1024
    """As many pixels as a picture can have (``sequence.size`` is at most 1024), each at 1e-12."""

    pictures: Array
    pixels: Array
    nats: Array

    @property
    def n(self) -> int:
        """Pictures counted."""
        return int(self.pictures.sum())

    @classmethod
    def none(cls, classes: int) -> GenerationSums:
        """The sums of no picture."""
        return cls.count(np.zeros(0), np.zeros(0, dtype=int), np.zeros(0, dtype=int), classes)

    def check(self, classes: int) -> None:
        """See the base class."""
        check_like(self, self.none(classes), self.array_names())
        if ((self.pixels == 0) != (self.pictures == 0)).any() or (self.pixels < self.pictures).any():
            raise ValueError("pictures without pixels, or pixels without pictures")
        if (self.nats > 28.0 * self.pixels).any() or not np.isclose(self.nats.sum(), self.loss, rtol=1e-6):
            raise ValueError("a likelihood that the pixels cannot have, or that is not the loss")

    def figures(self, classes: Sequence[str]) -> dict[str, Any]:
        """``n``, ``loss``, ``labels``, ``bits_per_dim`` (bits a pixel), and the same for each class."""
        bits = [_bits(nats, pixels) for nats, pixels in zip(self.nats, self.pixels, strict=True)]
        return {
            "n": self.n,
            "loss": ratio(self.loss, self.n),
            "bits_per_dim": _bits(self.nats.sum(), self.pixels.sum()),
            "bits_per_dim_by_class": dict(zip(classes, bits, strict=True)),
            "labels": {name: int(count) for name, count in zip(classes, self.pictures, strict=True)},
        }

    @classmethod
    def count(cls, nats: Array, pixels: Array, labels: Array, classes: int) -> GenerationSums:
        """The sums of some pictures.

        Args:
            nats: (n,) negative log-likelihood of each.
            pixels: (n,) pixels of each.
            labels: (n,) int, class of each.
            classes: C.
        """
        nats = np.minimum(nats.astype(np.float64), 28.0 * pixels)
        return cls(
            loss=float(nats.sum()),
            pictures=np.bincount(labels, minlength=classes).astype(np.int64),
            pixels=np.bincount(labels, weights=pixels, minlength=classes).astype(np.int64),
            nats=np.bincount(labels, weights=nats, minlength=classes).astype(np.float64),
        )


def _bits(nats: float, pixels: float) -> float | None:
    """Bits a pixel: nats over the natural logarithm of two."""
    return ratio(float(nats) / math.log(2), float(pixels))

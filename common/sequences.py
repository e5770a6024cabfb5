"""How a picture becomes a sequence: the same function for every site, so that steps mean the same.

Invariant: nothing is cut away. A picture is resampled to the study's size first (its aspect ratio is
not kept), and each pixel of the result stands in exactly one step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray

from common.study import Patches, Rows


def standardise(pixels: NDArray[Any]) -> NDArray[Any]:
    """The picture with mean 0 and standard deviation 1; a constant picture becomes zeros.

    Statistics are the picture's own, so no figure about other patients enters.
    """
    centred: NDArray[Any] = pixels - pixels.mean()
    deviation = float(centred.std())
    return centred / deviation if deviation > 1e-6 else centred * 0.0


def to_steps(pixels: NDArray[Any], sequence: Rows | Patches) -> NDArray[Any]:
    """A picture of the study's size as steps.

    Args:
        pixels: (size, size) float32.
        sequence: The study's ``[sequence]``.

    Returns:
        (steps, height * width of a step) float32.
    """
    if isinstance(sequence, Rows):
        return pixels
    count, patch = sequence.size // sequence.patch, sequence.patch
    squares = pixels.reshape(count, patch, count, patch).swapaxes(1, 2)
    return squares.reshape(count * count, patch * patch)


@dataclass(frozen=True, slots=True, eq=False)
class SequenceBatch:
    """Cases as tensors on one device.

    Attributes:
        steps: (N, T, F) float32, padded behind each case's own length with zeros.
        lengths: (N,) int64 on the CPU, steps of each case.
        labels: (N,) int64, class of each case.
    """

    steps: torch.Tensor
    lengths: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size_bytes(self) -> int:
        """Memory that the steps take."""
        return self.steps.element_size() * self.steps.nelement()

    def take(self, index: torch.Tensor) -> SequenceBatch:
        """The cases at ``index`` ((B,) int64 on the CPU), in its order."""
        where = index.to(self.steps.device, non_blocking=True)
        return SequenceBatch(self.steps[where], self.lengths[index], self.labels[where])

    def to(self, device: torch.device) -> SequenceBatch:
        """The same cases on another device."""
        return SequenceBatch(self.steps.to(device), self.lengths, self.labels.to(device))

    @classmethod
    def concatenate(cls, parts: list[SequenceBatch]) -> SequenceBatch:
        """One batch of several whose steps have the same shape."""
        return cls(
            torch.cat([p.steps for p in parts]),
            torch.cat([p.lengths for p in parts]),
            torch.cat([p.labels for p in parts]),
        )

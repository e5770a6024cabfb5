"""How a picture becomes a sequence: the same function for every site, so that steps mean the same.

Invariants: nothing is cut away. A picture is resampled first, to the study's size or to its spacing, and
each pixel of the result stands in exactly one step. A batch is as long as its longest case; what stands
behind a shorter one is zero and counts nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from numpy.typing import NDArray
from torch.nn.functional import pad as pad_tensor
from torch.nn.utils.rnn import pad_sequence

from common.study import Patches, Rows

Array = TypeVar("Array", NDArray[Any], torch.Tensor)


def standardise(pixels: NDArray[Any]) -> NDArray[Any]:
    """The picture with mean 0 and standard deviation 1; a constant picture becomes zeros.

    Statistics are the picture's own, so no figure about other patients enters.
    """
    centred: NDArray[Any] = pixels - pixels.mean()
    deviation = float(centred.std())
    return centred / deviation if deviation > 1e-6 else centred * 0.0


def to_steps(pixels: Array, sequence: Rows | Patches) -> Array:
    """Pictures of the study's size as steps.

    Args:
        pixels: (..., size, size).
        sequence: The study's ``[sequence]``.

    Returns:
        (..., steps, height * width of a step), of the same type.
    """
    if isinstance(sequence, Rows):
        return pixels
    count, patch, before = sequence.size // sequence.patch, sequence.patch, pixels.shape[:-2]
    squares = pixels.reshape(*before, count, patch, count, patch).swapaxes(-3, -2)
    return squares.reshape(*before, count * count, patch * patch)


class Cases(Protocol):
    """Cases that can be taken in batches, held as tensors or made when they are asked for."""

    @property
    def labels(self) -> torch.Tensor:
        """(N,) int64, class of each case, on ``device``."""

    @property
    def device(self) -> torch.device:
        """Where batches are."""

    @property
    def size_bytes(self) -> int:
        """Memory that the steps of all cases take, or would take."""

    def __len__(self) -> int: ...

    def take(self, index: torch.Tensor) -> SequenceBatch:
        """The cases at ``index`` ((B,) int64 on the CPU), in its order, and no longer than their longest."""


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
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.steps.device

    @property
    def size_bytes(self) -> int:
        """Memory that the steps take."""
        return self.steps.element_size() * self.steps.nelement()

    def take(self, index: torch.Tensor) -> SequenceBatch:
        """The cases at ``index`` ((B,) int64 on the CPU), in its order, and no longer than their longest."""
        where = index.to(self.steps.device, non_blocking=True)
        lengths = self.lengths[index]
        longest = int(lengths.max()) if len(lengths) else self.steps.shape[1]
        return SequenceBatch(self.steps[:, :longest][where], lengths, self.labels[where])

    def to(self, device: torch.device) -> SequenceBatch:
        """The same cases on another device."""
        return SequenceBatch(self.steps.to(device), self.lengths, self.labels.to(device))

    @classmethod
    def concatenate(cls, parts: Sequence[SequenceBatch]) -> SequenceBatch:
        """One batch of several, padded to the longest; F and device are the same in all that hold cases."""
        parts = [part for part in parts if len(part)] or parts[:1]
        longest = max(part.steps.shape[1] for part in parts)
        return cls(
            torch.cat([_padded(part.steps, longest) for part in parts]),
            torch.cat([part.lengths for part in parts]),
            torch.cat([part.labels for part in parts]),
        )


def pad(steps: Sequence[torch.Tensor], labels: torch.Tensor) -> SequenceBatch:
    """A batch of cases that differ in length.

    Args:
        steps: For each case (T, F) float32; T differs and is at least 1, F does not; all on one device.
        labels: (N,) int64, class of each case; goes to that device.

    Returns:
        A batch of N cases; of none, (0, 0, 0).
    """
    if not steps:
        return SequenceBatch(torch.zeros(0, 0, 0), labels.cpu(), labels)
    lengths = torch.tensor([len(case) for case in steps], dtype=torch.int64)
    return SequenceBatch(pad_sequence(list(steps), batch_first=True), lengths, labels.to(steps[0].device))


def _padded(steps: torch.Tensor, longest: int) -> torch.Tensor:
    """(N, T, F) with zeros behind to (N, longest, F)."""
    missing = longest - steps.shape[1]
    return pad_tensor(steps, (0, 0, 0, missing)) if missing else steps

"""Cases of different length as tensors.

Invariants: a batch is as long as its longest case; what stands behind a shorter one is zero and counts
nowhere. Targets of three or more dimensions have the steps as their second, and are ``NO_TARGET`` there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch.nn.functional import pad as pad_tensor
from torch.nn.utils.rnn import pad_sequence

NO_TARGET = 255
"""In targets of whole numbers behind a case's own steps; -1 in others."""


class Cases(Protocol):
    """Cases that can be taken in batches, held as tensors or made when they are asked for."""

    @property
    def targets(self) -> torch.Tensor:
        """(N, ...) what is to be learnt of each case (:class:`SequenceBatch`), on ``device``."""

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
        targets: (N, ...) what is to be learnt of each case, as its task has it (:mod:`common.learning`): in a
            classification (N,) int64, its class.
        encoded: Whether the steps are what the model's encoder makes of a case, so that it has nothing to do.
    """

    steps: torch.Tensor
    lengths: torch.Tensor
    targets: torch.Tensor
    encoded: bool = False

    def __len__(self) -> int:
        return len(self.lengths)

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
        targets = self.targets[:, :longest] if _by_step(self.targets) else self.targets
        return SequenceBatch(self.steps[:, :longest][where], lengths, targets[where], self.encoded)

    def to(self, device: torch.device) -> SequenceBatch:
        """The same cases on another device."""
        return replace(self, steps=self.steps.to(device), targets=self.targets.to(device))

    @classmethod
    def concatenate(cls, parts: Sequence[SequenceBatch]) -> SequenceBatch:
        """One batch of several, padded to the longest; all with cases have one F, device and ``encoded``."""
        parts = [part for part in parts if len(part)] or parts[:1]
        longest = max(part.steps.shape[1] for part in parts)
        return cls(
            torch.cat([_padded(part.steps, longest) for part in parts]),
            torch.cat([part.lengths for part in parts]),
            torch.cat([_padded_targets(part.targets, longest) for part in parts]),
            parts[0].encoded,
        )


def pad(steps: Sequence[torch.Tensor], targets: torch.Tensor | Sequence[torch.Tensor]) -> SequenceBatch:
    """A batch of cases that differ in length.

    Args:
        steps: For each case (T, F) float32; T differs and is at least 1, F does not; all on one device.
        targets: (N, ...) what is to be learnt of each; or for each case (T, ...), by step.

    Returns:
        A batch of N cases on that device; of none, (0, 0, 0).
    """
    if not steps:
        none = targets if isinstance(targets, torch.Tensor) else torch.zeros(0, 0, 0)
        return SequenceBatch(torch.zeros(0, 0, 0), torch.zeros(0, dtype=torch.int64), none)
    lengths = torch.tensor([len(case) for case in steps], dtype=torch.int64)
    if not isinstance(targets, torch.Tensor):
        targets = pad_sequence(list(targets), batch_first=True, padding_value=_no_target(targets[0]))
    return SequenceBatch(pad_sequence(list(steps), batch_first=True), lengths, targets.to(steps[0].device))


def joined_targets(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """(N, ...) the targets of several batches as one; those by step are padded to the longest."""
    longest = max((part.shape[1] for part in parts if _by_step(part)), default=0)
    return torch.cat([_padded_targets(part, longest) for part in parts])


def _padded(steps: torch.Tensor, longest: int) -> torch.Tensor:
    """(N, T, F) with zeros behind to (N, longest, F)."""
    missing = longest - steps.shape[1]
    return pad_tensor(steps, (0, 0, 0, missing)) if missing else steps


def _by_step(targets: torch.Tensor) -> bool:
    return targets.ndim >= 3


def _no_target(targets: torch.Tensor) -> int:
    return NO_TARGET if targets.dtype == torch.uint8 else -1


def _padded_targets(targets: torch.Tensor, longest: int) -> torch.Tensor:
    """Targets by step to as many steps; others as they are."""
    if not _by_step(targets) or targets.shape[1] == longest:
        return targets
    behind = (0, 0) * (targets.ndim - 2) + (0, longest - targets.shape[1])
    return pad_tensor(targets, behind, value=_no_target(targets))

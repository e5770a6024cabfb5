"""One batch of training cases, changed as the study's ``[augmentation]`` says.

Invariants:

- What is done to a case is a function of the seed and of its place in the batch; all steps of a case are
  moved alike, and its mask or boxes with them.
- Behind a case's own steps stay zeros, and no targets.
- Everything is float32, and done on the device of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from client.augmentation.boxes import at_their_patches, moved_boxes
from client.augmentation.moves import Draws, moved, moved_masks
from common.models.masks import all_full, time_mask
from common.sequences import SequenceBatch, from_steps, to_steps
from common.sequences.batch import NO_TARGET
from common.study import Augmentation, Patches, Rows, Steps, Study
from common.study.sequence import Sequence


def augmentation_of(study: Study) -> Augmented | None:
    """What a study does to its training cases; None for nothing."""
    asked = study.augmentation
    if not asked.moves and not asked.shades:
        return None
    # The pictures of a generation are brightness in [0, 1]; those of all other tasks are standardised.
    return Augmented(asked, study.sequence, in_unit=study.study.task not in _STANDARDISED)


_STANDARDISED = ("classification", "segmentation", "detection", "risk")


@dataclass(frozen=True, slots=True)
class Augmented:
    """What a study does to its training cases.

    Attributes:
        augmentation: The study's.
        sequence: What a step is.
        in_unit: Whether values lie in [0, 1] and must stay there; else they have the mean 0.
    """

    augmentation: Augmentation
    sequence: Sequence
    in_unit: bool = False

    def changed(self, batch: SequenceBatch, seed: int) -> SequenceBatch:
        """The batch as the model is shown it.

        Args:
            batch: Cases, as they are.
            seed: Of this batch alone.
        """
        if not len(batch):
            return batch
        draws, steps, targets = Draws.of(len(batch), seed), batch.steps, batch.targets
        if self.augmentation.moves:
            maps = draws.maps(self.augmentation).to(batch.device)
            steps = self._steps(moved(self._pictures(steps), maps))
            targets = self._moved_targets(targets, maps)
        if self.augmentation.shades:
            steps = self._shaded(steps, draws, seed)
        return SequenceBatch(_zero_behind(steps, batch.lengths), batch.lengths, targets)

    def _pictures(self, steps: torch.Tensor) -> torch.Tensor:
        """(B, T, F) as pictures, (B, 1 or T, H, W)."""
        if isinstance(self.sequence, Rows | Patches):
            return from_steps(steps, self.sequence).unsqueeze(1)
        return steps.reshape(*steps.shape[:2], *self.sequence.frame)

    def _steps(self, pictures: torch.Tensor) -> torch.Tensor:
        """The inverse of :meth:`_pictures`."""
        if isinstance(self.sequence, Rows | Patches):
            return to_steps(pictures.squeeze(1), self.sequence)
        return pictures.flatten(-2)

    def _moved_targets(self, targets: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        """Masks (B, T, P) uint8 and boxes (B, T, K, 5) at their new places; others as they are."""
        if targets.dtype == torch.uint8 and targets.ndim == 3:
            return self._steps(moved_masks(self._pictures(targets), maps, NO_TARGET))
        if targets.ndim == 4:
            boxes = moved_boxes(targets, maps)
            return at_their_patches(boxes, self.sequence) if isinstance(self.sequence, Patches) else boxes
        return targets

    def _shaded(self, steps: torch.Tensor, draws: Draws, seed: int) -> torch.Tensor:
        """(B, T, F) with other values."""
        noise = self._noise(steps, seed) if self.augmentation.noise else None
        if isinstance(self.sequence, Steps):
            return steps if noise is None else _noised_record(steps, noise)
        added, factor = (value.to(steps.device)[:, None, None] for value in draws.shades(self.augmentation))
        middle = 0.5 if self.in_unit else 0.0
        steps = torch.addcmul(added + middle * (1 - factor), steps, factor)
        if noise is not None:
            steps = steps.add_(noise)
        return steps.clamp_(0, 1) if self.in_unit else steps

    def _noise(self, steps: torch.Tensor, seed: int) -> torch.Tensor:
        """(B, T, F) normal values; a GPU draws others than a CPU."""
        source = torch.Generator(steps.device).manual_seed(seed)
        drawn = torch.randn(steps.shape, generator=source, device=steps.device)
        return drawn.mul_(self.augmentation.noise)


def _noised_record(steps: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Noise on what was measured; what was not stays 0, and flags and gaps stay what they are."""
    count = steps.shape[-1] // 3
    values, flags = steps[..., :count], steps[..., count : 2 * count]
    return torch.cat([values + flags * noise[..., :count], steps[..., count:]], dim=-1)


def _zero_behind(steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    if all_full(lengths, steps.shape[1]):
        return steps
    return steps * time_mask(lengths, steps.shape[1], steps.device)[..., None].to(steps.dtype)

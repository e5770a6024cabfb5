"""Boxes; the model gives (B, T, cells, C + 4): each cell's logits of the classes, and where a box is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid, smooth_l1_loss

from common.learning.boxes import Found, Grid, decode, generalised_iou
from common.metrics.detection import DetectionSums, Tally, tally
from common.metrics.sums import Array
from common.models.masks import time_mask
from common.models.unet import grid_level
from common.sequences import SequenceBatch, hilbert
from common.study import Patches, Study

SURE, BESIDE = 2, 4
"""Exponents of the focal loss: how little sure cells count, and how little those beside a box's middle do."""
LEAST_BELL = 0.6
"""Deviation of the bell around a box's middle, in cells; a larger box has a sixth of its shorter side."""
NEAR = 0.3
"""A cell at least so high on the bell also learns where the box is."""


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """What cells should say: of N cases, each of P pictures with S cells.

    Attributes:
        heat: (N, P, S, C) how near a box's middle is, 1 in the cell that holds it.
        boxes: (N, P, S, 4) the box of the nearest middle.
        near: (N, P, S) how high the cell is on that box's bell; 0 if it need not say where it is.
        count: (N,) boxes.
    """

    heat: torch.Tensor
    boxes: torch.Tensor
    near: torch.Tensor
    count: torch.Tensor


class Detection:
    """See :class:`common.learning.learning.Learning`; targets are (N, T, K, 5) float32 class and box, or -1.

    The loss of a case is the sum of three over its cells: the focal loss with less weight around a box's
    middle (Zhou et al. 2019, arXiv:1904.07850, eq. 1), over the number of boxes; and of the cells near a
    middle, as a mean weighted by nearness, the smooth L1 distance of what they say from what they should, and
    one less the generalised IoU.
    """

    def __init__(self, study: Study, class_weights: tuple[float, ...]) -> None:
        self._classes = len(study.study.classes)
        self._patches = isinstance(study.sequence, Patches)
        self.grid = _grid_of(study)
        self._weights = torch.tensor(class_weights) if class_weights else None

    def loss(self, output: torch.Tensor, batch: SequenceBatch) -> torch.Tensor:
        """Mean over the cases; the study's weights of classes are in the focal loss."""
        if self._weights is not None:
            self._weights = self._weights.to(output.device)
        return self._losses(output, batch, self._weights).mean()

    def losses(self, output: torch.Tensor, batch: SequenceBatch) -> torch.Tensor:
        """(B,) focal loss, L1 and what the IoU lacks."""
        return self._losses(output, batch, None)

    def count(self, output: torch.Tensor, batch: SequenceBatch, *, keep: bool) -> DetectionSums:
        """Counts of the boxes that are found; more than 28 nats of a case are not counted."""
        targets = self._by_picture(batch.targets).cpu().numpy()
        tallies = [
            self._tally(pictures, true)
            for pictures, true in zip(self.found(output, batch.lengths), targets, strict=True)
        ]
        losses = self._losses(output, batch, None).clamp(max=DetectionSums.MOST_LOSS)
        return DetectionSums.of(tallies, float(losses.sum()), self._classes, keep=keep)

    def _tally(self, pictures: list[Found], true: Array) -> Tally:
        """The counts of one case; ``true`` is (P, K, 5), with more pictures where others have more."""
        counted = Tally.none(self._classes)
        for number, found in enumerate(pictures):
            counted += tally(*found.arrays(), true[number], self._classes)
        return counted

    def found(self, output: torch.Tensor, lengths: torch.Tensor) -> list[list[Found]]:
        """The boxes of each case, by picture: by step, or with patches its one picture."""
        said = self._by_picture(output).cpu()
        boxes = self.grid.boxes(said[..., self._classes :].float())
        return [
            [
                decode(said[case, step, :, : self._classes], boxes[case, step])
                for step in range(self._own(int(length)))
            ]
            for case, length in enumerate(lengths)
        ]

    def _own(self, length: int) -> int:
        """How many pictures a case of so many steps has."""
        return 1 if self._patches else length

    def _by_picture(self, steps: torch.Tensor) -> torch.Tensor:
        """(N, T, S or K, ...) to (N, pictures, S or K, ...): the patches of one picture are its cells."""
        return steps.flatten(1, 2).unsqueeze(1) if self._patches else steps

    def _losses(
        self, output: torch.Tensor, batch: SequenceBatch, weights: torch.Tensor | None
    ) -> torch.Tensor:
        said = self._by_picture(output.float())
        logits, places = said[..., : self._classes], said[..., self._classes :]
        cells = _cells(self._by_picture(batch.targets), self.grid, self._classes)
        pictures = torch.tensor([self._own(int(length)) for length in batch.lengths])
        own = time_mask(pictures, said.shape[1], said.device)[:, :, None, None]
        focal = _focal(logits, cells.heat) * own
        focal = focal if weights is None else focal * weights
        apart = smooth_l1_loss(places, self.grid.said(cells.boxes), reduction="none").sum(dim=-1)
        lacking = 1 - generalised_iou(self.grid.boxes(places), cells.boxes)
        placed = ((apart + lacking) * cells.near).flatten(1).sum(dim=1) / cells.near.flatten(1).sum(
            dim=1
        ).clamp(min=1.0)
        return focal.flatten(1).sum(dim=1) / cells.count.clamp(min=1) + placed


def _grid_of(study: Study) -> Grid:
    """The cells of the study's pictures, in the order in which its models speak of them."""
    sequence = study.sequence
    if isinstance(sequence, Patches):
        side, share = sequence.size // sequence.patch, sequence.patch / sequence.size
        grid = Grid.of(side, side, share, share)
        return grid if sequence.order == "raster" else grid.in_order(torch.from_numpy(hilbert(side)))
    stride = 2 ** grid_level(sequence.frame)
    rows, columns = (-(-side // stride) for side in sequence.frame)
    return Grid.of(rows, columns, stride / sequence.frame[0], stride / sequence.frame[1])


def _cells(targets: torch.Tensor, grid: Grid, classes: int) -> _Cells:
    """What cells should say of (N, P, K, 5) classes and boxes, -1 where there is none."""
    real, boxes = targets[..., 0] >= 0, targets[..., 1:]
    cell, centres = grid.size.to(boxes.device), grid.centres.to(boxes.device)
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    away = (((middle.unsqueeze(-2) - centres) / cell) ** 2).sum(dim=-1)  # (N, P, K, S)
    bell = ((boxes[..., 2:] - boxes[..., :2]) / cell).amin(dim=-1).div(6).clamp(min=LEAST_BELL)
    height = (-away / (2 * bell.unsqueeze(-1) ** 2)).exp()
    holds = torch.zeros_like(height).scatter_(-1, away.argmin(dim=-1, keepdim=True), 1.0)
    height = torch.maximum(height.clamp(max=0.999), holds) * real.unsqueeze(-1)
    heat = torch.stack([_highest(height, targets[..., 0] == c) for c in range(classes)], dim=-1)
    near, nearest = height.max(dim=-2)
    of_cell = boxes.gather(2, nearest.unsqueeze(-1).expand(*nearest.shape, 4))
    return _Cells(heat, of_cell, near * (near >= NEAR), real.flatten(1).sum(dim=1))


def _highest(height: torch.Tensor, of_class: torch.Tensor) -> torch.Tensor:
    """(N, P, S) the highest bell of a class at each cell."""
    highest: torch.Tensor = (height * of_class.unsqueeze(-1)).amax(dim=-2)
    return highest


def _focal(logits: torch.Tensor, heat: torch.Tensor) -> torch.Tensor:
    """(...) the focal loss of each cell and class."""
    sure = logits.sigmoid()
    middle = -((1 - sure) ** SURE) * logsigmoid(logits)
    elsewhere = -((1 - heat) ** BESIDE) * sure**SURE * logsigmoid(-logits)
    return torch.where(heat == 1, middle, elsewhere)

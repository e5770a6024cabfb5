"""The models of a detection study: each cell of a grid says of each class how sure it is of a box there, and
where the box is; (B, T, cells, C + 4), see :mod:`common.learning.boxes`."""

from __future__ import annotations

import math

import torch
from torch import nn

from common.models.cells import Recurrent
from common.models.encoders import Encoder
from common.models.map_model import MapModel, MapShape, unfolded
from common.models.masks import time_mask
from common.models.model import SequenceModel
from common.private.tape import folded

RARE = 0.01
"""How sure a cell is before training: most cells have no box (Lin et al. 2017, arXiv:1708.02002, 3.3)."""
BOX = 4


class FrameDetector(MapModel):
    """Of slices and frames: a U-Net, with a convolutional cell at its deepest map, up to the grid of cells.

    Attributes:
        stride: Side of a cell in pixels.
    """

    def __init__(self, shape: MapShape, classes: int) -> None:
        super().__init__(shape)
        self.stride = 2**shape.finest
        self.head = nn.Conv2d(self.expanding.features, classes + BOX, 1)
        _begin_unsure(self.head, classes)

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, T, cells, C + 4), cells in raster order; zeros behind a case's own steps."""
        maps, own = self.maps(steps, lengths)
        with folded(own // steps.shape[1]):
            said = self.head(maps).flatten(2).transpose(1, 2)
        return unfolded(said, own, len(lengths), steps.shape[1])


class PatchDetector(SequenceModel):
    """Of one picture read patch by patch: each patch is a cell."""

    def __init__(self, encoder: Encoder, recurrent: Recurrent, classes: int, dropout: float) -> None:
        super().__init__(encoder, recurrent)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.width + encoder.features, classes + BOX)
        _begin_unsure(self.head, classes)

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, T, 1, C + 4), zeros behind a case's own steps."""
        features, lengths = self.encode(steps, lengths)
        states = self.dropout(self.recur(features, lengths))
        # Its own features beside the state, which need not carry where in the patch something is.
        said: torch.Tensor = self.head(torch.cat([features, states], dim=2))
        return (said * time_mask(lengths, said.shape[1], said.device).unsqueeze(2)).unsqueeze(2)


def _begin_unsure(head: nn.Conv2d | nn.Linear, classes: int) -> None:
    assert head.bias is not None  # noqa: S101  both kinds have one unless told otherwise
    with torch.no_grad():
        head.bias[:classes] = math.log(RARE / (1 - RARE))

"""The models of a segmentation study: logits of each class for every pixel of every step."""

from __future__ import annotations

import torch
from torch import nn

from common.models.cells import Recurrent
from common.models.map_model import MapModel, MapShape, unfolded
from common.models.masks import time_mask
from common.models.model import SequenceModel
from common.models.places import PlaceEncoder
from common.private.tape import folded


class FrameSegmenter(MapModel):
    """Of slices, frames and views: a U-Net whose deepest map goes through a convolutional cell."""

    def __init__(self, shape: MapShape, classes: int) -> None:
        super().__init__(shape)
        self.head = nn.Conv2d(self.expanding.features, classes, 1)

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, T, C, height, width) logits, zeros behind a case's own steps."""
        maps, own = self.maps(steps, lengths)
        with folded(own // steps.shape[1]):
            logits = self.head(maps)
        return unfolded(logits, own, len(lengths), steps.shape[1])


class StripSegmenter(SequenceModel):
    """Of one picture read row by row or patch by patch: a step's state says what it knows of each pixel.

    The state, spread over the step's places, stands beside the encoder's features there, so edges are those
    of the picture and the state adds what was seen elsewhere.
    """

    SPREAD = 8
    """Channels of what a state says of a pixel."""

    def __init__(self, encoder: PlaceEncoder, recurrent: Recurrent, classes: int, dropout: float) -> None:
        super().__init__(encoder, recurrent)
        self.frame = encoder.frame
        height, width = encoder.frame
        self.spread = nn.Linear(self.width, self.SPREAD * height * width)
        self.dropout = nn.Dropout(dropout)
        kernel = (min(3, height), 3)
        before = self.SPREAD + encoder.channels
        self.join = nn.Conv2d(before, 2 * self.SPREAD, kernel, padding=(kernel[0] // 2, 1))
        self.head = nn.Conv2d(2 * self.SPREAD, classes, 1)

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, T, C, height, width) logits, zeros behind a case's own steps."""
        batch, count, _ = steps.shape
        features, lengths = self.encoder(steps, lengths)
        said = self.spread(self.dropout(self.recur(features, lengths)))
        with folded(torch.arange(batch * count) // count):
            seen = features.reshape(batch * count, -1, *self.frame)
            known = said.reshape(batch * count, self.SPREAD, *self.frame)
            logits = self.head(torch.relu(self.join(torch.cat([seen, known], dim=1))))
        mask = time_mask(lengths, count, logits.device)[:, :, None, None, None]
        pixels: torch.Tensor = logits.reshape(batch, count, -1, *self.frame) * mask
        return pixels

"""The networks that are exported: the models' own layers, with masks in place of packed sequences.

Each takes what :mod:`client.exporting.interface` says of its study, in that order, and gives the like.
Weights are copied.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

import torch
from torch import nn

from client.exporting.encoders import masked_encoder
from client.exporting.masked import MaskedRecurrent
from common.learning.boxes import Grid
from common.models import RiskModel, SequenceClassifier, SequenceModel
from common.models.detector import BOX, FrameDetector, PatchDetector
from common.models.map_model import MapModel
from common.models.masks import time_mask
from common.models.pooling import LastPool
from common.models.segmenter import FrameSegmenter, StripSegmenter

Model = TypeVar("Model", bound=SequenceModel)


class _Exportable(nn.Module):
    """A model's encoder and recurrent layers, without packed sequences."""

    def __init__(self, own: SequenceModel) -> None:
        super().__init__()
        self.encoder = masked_encoder(own.encoder)
        self.recurrent = MaskedRecurrent(own.recurrent)

    def read(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What the encoder gives, what the recurrent layers make of it, and the new lengths."""
        features, lengths = self.encoder(steps, lengths)
        return features, self.recurrent(features, lengths), lengths

    def states(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T', width) what the recurrent layers give, of maps their means, and the lengths."""
        _, outputs, lengths = self.read(steps, lengths)
        return outputs.mean(dim=(3, 4)) if outputs.dim() == 5 else outputs, lengths


class ExportableClassifier(_Exportable):
    """What :class:`~common.models.SequenceClassifier` gives in eval mode.

    Raises:
        TaskNotServed: A layer of it cannot be exported; so in all of them.
    """

    def __init__(self, network: SequenceClassifier) -> None:
        own = copied(network)
        super().__init__(own)
        self.pooling = _MaskedLast(own.pooling) if isinstance(own.pooling, LastPool) else own.pooling
        self.head = own.head
        self.eval()

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, classes) float32 logits of (B, T, F) float32 and (B,) int64."""
        outputs, lengths = self.states(steps, lengths)
        logits: torch.Tensor = self.head(
            self.pooling(outputs, time_mask(lengths, outputs.shape[1], outputs.device))
        )
        return logits


class ExportableRisk(_Exportable):
    """What :class:`~common.models.risk.RiskModel` gives in eval mode."""

    def __init__(self, network: RiskModel) -> None:
        own = copied(network)
        super().__init__(own)
        self.head = own.head
        self.eval()

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, T) float32 logits; behind a case's own steps they mean nothing."""
        logits: torch.Tensor = self.head(self.states(steps, lengths)[0]).squeeze(2)
        return logits


class ExportableStrips(_Exportable):
    """What :class:`~common.models.segmenter.StripSegmenter` gives in eval mode."""

    def __init__(self, network: StripSegmenter) -> None:
        own = copied(network)
        super().__init__(own)
        self.frame, self.channels = own.frame, own.SPREAD
        self.spread, self.join, self.head = own.spread, own.join, own.head
        self.eval()

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, T, C, height, width) logits."""
        batch, count, _ = steps.shape
        features, outputs, _ = self.read(steps, lengths)
        seen = features.reshape(batch * count, -1, *self.frame)
        known = self.spread(outputs).reshape(batch * count, self.channels, *self.frame)
        logits: torch.Tensor = self.head(torch.relu(self.join(torch.cat([seen, known], dim=1))))
        return logits.reshape(batch, count, *logits.shape[1:])


class _ExportableMaps(nn.Module):
    """What :class:`~common.models.map_model.MapModel` and the head behind it give, of padding too."""

    def __init__(self, own: MapModel, head: nn.Module, finest: int = 0) -> None:
        super().__init__()
        self.frame, self.finest = own.frame, finest
        self.contracting, self.expanding, self.head = own.contracting, own.expanding, head
        self.recurrent = MaskedRecurrent(own.recurrent)
        self.eval()

    def said(self, steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, T, channels, h, w) of (B, T, H * W) and (B,)."""
        batch, count, _ = steps.shape
        levels = self.contracting(steps.reshape(batch * count, 1, *self.frame))
        maps = levels[-1].reshape(batch, count, *levels[-1].shape[1:])
        remembered = self.recurrent(maps, lengths).flatten(0, 1)
        finest = self.expanding(torch.cat([levels[-1], remembered], dim=1), levels[self.finest : -1])
        said: torch.Tensor = self.head(finest)
        return said.reshape(batch, count, *said.shape[1:])


class ExportableMasks(_ExportableMaps):
    """What :class:`~common.models.segmenter.FrameSegmenter` gives in eval mode."""

    def __init__(self, network: FrameSegmenter) -> None:
        own = copied(network)
        super().__init__(own, own.head)

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, T, C, height, width) logits."""
        return self.said(steps, lengths)


class _Decoding(nn.Module):
    """:meth:`common.learning.boxes.Grid.boxes`, of grids whose cells are a step's, or the steps."""

    centres: torch.Tensor

    def __init__(self, grid: Grid, *, by_step: bool) -> None:
        super().__init__()
        self.register_buffer("centres", grid.centres)
        self.height, self.width, self.by_step = grid.height, grid.width, by_step

    def forward(self, said: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, S, C + 4) to (B, T, S, C) and (B, T, S, 4)."""
        centres = self.centres
        if self.by_step:
            # Behind a picture's last patch there is none; an index must still be one.
            place = torch.arange(said.shape[1], device=said.device).clamp(max=len(centres) - 1)
            centres = centres[place].unsqueeze(1)
        grid = Grid(centres, self.height, self.width)
        return said[..., :-BOX], grid.boxes(said[..., -BOX:])


class ExportableFrameBoxes(_ExportableMaps):
    """What :class:`~common.models.detector.FrameDetector` gives in eval mode, as scores and boxes."""

    def __init__(self, network: FrameDetector, grid: Grid) -> None:
        own = copied(network)
        super().__init__(own, own.head, own.stride.bit_length() - 1)
        self.decoding = _Decoding(grid, by_step=False)

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, cells, C) logits and (B, T, cells, 4) boxes."""
        found: tuple[torch.Tensor, torch.Tensor] = self.decoding(
            self.said(steps, lengths).flatten(3).transpose(2, 3)
        )
        return found


class ExportablePatchBoxes(_Exportable):
    """What :class:`~common.models.detector.PatchDetector` gives in eval mode, as scores and boxes."""

    def __init__(self, network: PatchDetector, grid: Grid) -> None:
        own = copied(network)
        super().__init__(own)
        self.head, self.decoding = own.head, _Decoding(grid, by_step=True)
        self.eval()

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, 1, C) logits and (B, T, 1, 4) boxes."""
        features, outputs, _ = self.read(steps, lengths)
        said = self.head(torch.cat([features, outputs], dim=2)).unsqueeze(2)
        found: tuple[torch.Tensor, torch.Tensor] = self.decoding(said)
        return found


class _MaskedLast(nn.Module):
    """:class:`~common.models.pooling.LastPool` without counting the cases, which would fix their number."""

    def __init__(self, pooling: LastPool) -> None:
        super().__init__()
        self.hidden, self.directions = pooling.hidden, pooling.directions

    def forward(self, outputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """As the pooling."""
        last = (mask.sum(dim=1) - 1)[:, None, None].expand(-1, 1, self.hidden)
        forward = outputs[:, :, : self.hidden].gather(1, last).squeeze(1)
        if self.directions == 1:
            return forward
        return torch.cat([forward, outputs[:, 0, self.hidden :]], dim=1)


def copied(network: Model) -> Model:
    """The same model on the CPU, in eval mode, so without dropout."""
    return deepcopy(network).cpu().eval()

"""What models of pictures over time have in common: a U-Net whose deepest map goes through a recurrent stack.

Each slice or frame goes down by itself, the deepest maps go through a convolutional cell in the order of the
steps, and each goes up again beside the maps of its own picture.

Invariant: what comes out for a step does not depend on the padding behind its case, nor on the batch.
"""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass

import torch
from torch import nn

from common.models.cells.convolutional import ConvGRU, ConvLSTM
from common.models.masks import time_mask
from common.models.model import SequenceModel
from common.models.unet import Contracting, Expanding, widths_of
from common.private.tape import folded

ConvCell = ConvGRU | ConvLSTM
CONV_CELLS: dict[str, type[ConvCell]] = {"conv_gru": ConvGRU, "conv_lstm": ConvLSTM}


@dataclass(frozen=True, slots=True)
class MapShape:
    """What a model of maps is made of.

    Attributes:
        frame: Height and width of a step's picture.
        depth: How often it is halved; 0 for a recurrent stack over its own pixels.
        cell: ``conv_gru`` or ``conv_lstm``.
        hidden: Channels of the deepest map and of a state of the cell.
        layers: Of the cell.
        bidirectional: Whether it also reads backwards.
        dropout: Share of the states' values that training leaves out.
        finest: The level that the way up ends at; 0 for the picture's own size.
    """

    frame: tuple[int, int]
    depth: int
    cell: str
    hidden: int
    layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    finest: int = 0


class MapModel(SequenceModel, ABC):
    """Maps of features over the places of each step's picture.

    Attributes:
        frame: Height and width of a step's picture.
    """

    def __init__(self, shape: MapShape) -> None:
        # Maps pass between the parts here, which the base class would hand on as vectors.
        nn.Module.__init__(self)
        self.frame = shape.frame
        widths = widths_of(shape.hidden, shape.depth) if shape.depth else ()
        self.contracting = Contracting(widths)
        self.recurrent = CONV_CELLS[shape.cell](
            self.contracting.features, shape.hidden, layers=shape.layers, bidirectional=shape.bidirectional
        )
        self.dropout = nn.Dropout(shape.dropout)
        self._finest = shape.finest
        self.expanding = Expanding(self.width + self.contracting.features, widths, shape.finest)

    @property
    def width(self) -> int:
        """Channels of a step's map after the recurrent stack."""
        features: int = self.recurrent.features  # type: ignore[assignment]
        return features

    def states(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T, width) mean of each step's map over its places, and the lengths."""
        own = _own_rows(lengths, steps.shape[1])
        return self._remembered(self._down(steps, own)[-1], own, lengths, steps.shape[1]).mean(
            (3, 4)
        ), lengths

    def maps(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The finest maps of all steps that are no padding.

        Args:
            steps: (B, T, height * width).
            lengths: (B,) int64 on the CPU.

        Returns:
            (R, features, h, w), and (R,) int64 on the CPU, the place of each among the B * T steps.
        """
        own, count = _own_rows(lengths, steps.shape[1]), steps.shape[1]
        levels = self._down(steps, own)
        remembered = self._remembered(levels[-1], own, lengths, count).flatten(0, 1)[own.to(steps.device)]
        with folded(own // count):
            # The step's own map beside what is remembered: the way up need not wait for the cell to learn.
            deepest = torch.cat([levels[-1], self.dropout(remembered)], dim=1)
            return self.expanding(deepest, levels[self._finest : -1]), own

    def _down(self, steps: torch.Tensor, own: torch.Tensor) -> list[torch.Tensor]:
        """The maps of each level, (R, C, h, w); padding is left out, it would cost as much as pictures do."""
        pictures = steps.reshape(-1, 1, *self.frame)[own.to(steps.device)]
        with folded(own // steps.shape[1]):
            levels: list[torch.Tensor] = self.contracting(pictures)
        return levels

    def _remembered(
        self, deepest: torch.Tensor, own: torch.Tensor, lengths: torch.Tensor, count: int
    ) -> torch.Tensor:
        """(B, T, width, h, w) states of the recurrent stack."""
        maps: torch.Tensor = self.recurrent(unfolded(deepest, own, len(lengths), count), lengths)
        return maps


def unfolded(rows: torch.Tensor, own: torch.Tensor, batch: int, count: int) -> torch.Tensor:
    """Rows of steps back at their places: (R, ...) to (batch, count, ...), zeros where padding was."""
    if len(own) < batch * count:
        padded = rows.new_zeros(batch * count, *rows.shape[1:])
        rows = padded.index_copy(0, own.to(rows.device), rows)
    return rows.reshape(batch, count, *rows.shape[1:])


def _own_rows(lengths: torch.Tensor, count: int) -> torch.Tensor:
    """(R,) int64 on the CPU, places of all steps that are no padding."""
    return time_mask(lengths, count, lengths.device).flatten().nonzero().squeeze(1)

"""The model of a classification study: encoder, recurrent stack, pooling, linear head."""

from __future__ import annotations

import torch
from torch import nn

from common.models.cells import Recurrent
from common.models.encoders import Encoder
from common.models.masks import all_full, time_mask
from common.models.model import SequenceModel


class SequenceClassifier(SequenceModel):
    """Class logits of padded sequences."""

    def __init__(
        self, encoder: Encoder, recurrent: Recurrent, pooling: nn.Module, classes: int, dropout: float
    ) -> None:
        super().__init__(encoder, recurrent)
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.width, classes)

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, classes) float32 logits; see the base class."""
        outputs, lengths = self.states(steps, lengths)
        steps_each = outputs.shape[1]
        mask = None if all_full(lengths, steps_each) else time_mask(lengths, steps_each, outputs.device)
        logits: torch.Tensor = self.head(self.dropout(self.pooling(outputs, mask)))
        return logits

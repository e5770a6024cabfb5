"""The model of a risk study: at every step, the risk by what was seen until then."""

from __future__ import annotations

import torch
from torch import nn

from common.models.cells import Recurrent
from common.models.encoders import Encoder
from common.models.model import SequenceModel


class RiskModel(SequenceModel):
    """A logit a step. Its recurrent stack goes one way, or a step would see what comes later."""

    def __init__(self, encoder: Encoder, recurrent: Recurrent, dropout: float) -> None:
        super().__init__(encoder, recurrent)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.width, 1)

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, T) float32 logits that the event comes; behind a case's own steps they mean nothing."""
        outputs, _ = self.states(steps, lengths)
        logits: torch.Tensor = self.head(self.dropout(outputs)).squeeze(2)
        return logits

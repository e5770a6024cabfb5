"""What all models have in common: an encoder and a recurrent stack over padded sequences."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn

from common.models.cells import OfLengths, Recurrent, run
from common.models.encoders import Encoder
from common.sequences import SequenceBatch


class SequenceModel(nn.Module, ABC):
    """A model of padded sequences.

    The recurrent stack is torch's own (``nn.GRU``, ``nn.LSTM``, ``nn.RNN``) or a subclass, so its weights
    are called what everybody calls them: ``recurrent.weight_ih_l0`` and so on. Or it is one of
    :mod:`common.models.cells`, which says what its are called.
    """

    def __init__(self, encoder: Encoder, recurrent: Recurrent) -> None:
        super().__init__()
        self.encoder = encoder
        self.recurrent = recurrent
        self._is_encoded = False

    @property
    def width(self) -> int:
        """Features of a step after the recurrent stack."""
        if isinstance(self.recurrent, OfLengths):
            return self.recurrent.features
        return int(self.recurrent.hidden_size * (2 if self.recurrent.bidirectional else 1))

    @abstractmethod
    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """What the task's head gives; see :mod:`common.learning`.

        Args:
            steps: (B, T, F) float32, zeros behind each case's length.
            lengths: (B,) int64 on the CPU, at least 1.
        """

    def on(self, batch: SequenceBatch) -> torch.Tensor:
        """What the model makes of a batch; one that also needs what a case is of is given it here."""
        self._is_encoded = batch.encoded
        try:
            output: torch.Tensor = self(batch.steps, batch.lengths)
        finally:
            self._is_encoded = False
        return output

    def states(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T', width) what the recurrent stack gives of each step, and the lengths behind the encoder.

        Of a convolutional cell, the mean over each map.
        """
        features, lengths = self.encode(steps, lengths)
        outputs = self.recur(features, lengths)
        return outputs.mean(dim=(3, 4)) if outputs.dim() == 5 else outputs, lengths

    def encode(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the encoder makes of steps, and the lengths behind it; of an encoded batch what came in."""
        return (steps, lengths) if self._is_encoded else self.encoder(steps, lengths)

    def recur(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(B, T', width) or (B, T', width, h, w), what the recurrent stack gives of features of that form."""
        if isinstance(self.recurrent, OfLengths):
            outputs: torch.Tensor = self.recurrent(features, lengths)
            return outputs
        return run(self.recurrent, features, lengths)

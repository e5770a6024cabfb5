"""What all models have in common: an encoder and a recurrent stack over padded sequences."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from common.models.encoders import Encoder
from common.models.masks import all_full


class SequenceModel(nn.Module, ABC):
    """A model of padded sequences.

    The recurrent stack is torch's own (``nn.GRU``, ``nn.LSTM``, ``nn.RNN``) or a subclass, so its weights
    are called what everybody calls them: ``recurrent.weight_ih_l0`` and so on.
    """

    def __init__(self, encoder: Encoder, recurrent: nn.RNNBase) -> None:
        super().__init__()
        self.encoder = encoder
        self.recurrent = recurrent

    @property
    def width(self) -> int:
        """Features of a step after the recurrent stack."""
        return int(self.recurrent.hidden_size * (2 if self.recurrent.bidirectional else 1))

    @abstractmethod
    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """What the task's head gives; see :mod:`common.learning`.

        Args:
            steps: (B, T, F) float32, zeros behind each case's length.
            lengths: (B,) int64 on the CPU, at least 1.
        """

    def states(self, steps: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, T', width) what the recurrent stack gives of each step, and the lengths behind the encoder."""
        features, lengths = self.encoder(steps, lengths)
        return self._recur(features, lengths), lengths

    def _recur(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        steps = features.shape[1]
        if all_full(lengths, steps):
            outputs: torch.Tensor = self.recurrent(features)[0]
            return outputs
        packed = pack_padded_sequence(features, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.recurrent(packed)[0], batch_first=True, total_length=steps)[0]

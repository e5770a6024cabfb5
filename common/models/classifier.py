"""The model of a classification study: encoder, recurrent stack, pooling, linear head."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from common.models.encoders import Encoder
from common.models.masks import all_full, time_mask


class SequenceClassifier(nn.Module):
    """Class logits of padded sequences.

    The recurrent stack is torch's own (``nn.GRU``, ``nn.LSTM``, ``nn.RNN``) or a subclass, so its weights
    are called what everybody calls them: ``recurrent.weight_ih_l0`` and so on.
    """

    def __init__(
        self, encoder: Encoder, recurrent: nn.RNNBase, pooling: nn.Module, classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.recurrent = recurrent
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(recurrent.hidden_size * (2 if recurrent.bidirectional else 1), classes)

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits.

        Args:
            steps: (B, T, F) float32, zeros behind each case's length.
            lengths: (B,) int64 on the CPU, at least 1.

        Returns:
            (B, classes) float32.
        """
        features, lengths = self.encoder(steps, lengths)
        outputs = self._recur(features, lengths)
        mask = time_mask(lengths, outputs.shape[1], outputs.device)
        logits: torch.Tensor = self.head(self.dropout(self.pooling(outputs, mask)))
        return logits

    def _recur(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        steps = features.shape[1]
        if all_full(lengths, steps):
            outputs: torch.Tensor = self.recurrent(features)[0]
            return outputs
        packed = pack_padded_sequence(features, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.recurrent(packed)[0], batch_first=True, total_length=steps)[0]

"""From one feature vector a step to one a case; padding never counts.

A mask of None says that there is no padding: pictures of one size have none, and asking for each step costs
as much as the mean itself.
"""

from __future__ import annotations

import torch
from torch import nn


class LastPool(nn.Module):
    """The last step of the forward direction beside the first of the backward one."""

    def __init__(self, hidden: int, directions: int) -> None:
        super().__init__()
        self.hidden, self.directions = hidden, directions

    def forward(self, outputs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(B, T, directions * hidden) and (B, T) to (B, directions * hidden)."""
        if mask is None:
            forward = outputs[:, -1, : self.hidden]
        else:
            last = mask.sum(dim=1) - 1
            forward = outputs[torch.arange(len(outputs), device=outputs.device), last, : self.hidden]
        if self.directions == 1:
            return forward
        return torch.cat([forward, outputs[:, 0, self.hidden :]], dim=1)


class MeanPool(nn.Module):
    """The mean over a case's own steps."""

    def forward(self, outputs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(B, T, H) and (B, T) to (B, H)."""
        if mask is None:
            return outputs.mean(dim=1)
        weight = mask.to(outputs.dtype)
        return (outputs * weight.unsqueeze(2)).sum(dim=1) / weight.sum(dim=1, keepdim=True)


class MaxPool(nn.Module):
    """The largest value of each feature over a case's own steps."""

    def forward(self, outputs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(B, T, H) and (B, T) to (B, H)."""
        if mask is None:
            return outputs.amax(dim=1)
        return outputs.masked_fill(~mask.unsqueeze(2), float("-inf")).amax(dim=1)


class AttentionPool(nn.Module):
    """A weighted mean whose weights are learnt: additive attention (Bahdanau et al. 2015) with one query."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.project = nn.Linear(features, features)
        self.score = nn.Linear(features, 1, bias=False)

    def forward(self, outputs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(B, T, H) and (B, T) to (B, H)."""
        return (outputs * self.weights(outputs, mask).unsqueeze(2)).sum(dim=1)

    def weights(self, outputs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(B, T) share of each step; zero on padding, one in sum."""
        scores: torch.Tensor = self.score(torch.tanh(self.project(outputs))).squeeze(2)
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return scores.softmax(dim=1)

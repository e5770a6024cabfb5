"""What is explained: one number a case, in nats of log-odds, that a model's output says.

Log-odds, since there 0 means even odds, and since adding a number to all logits of a softmax, which changes
no probability, changes none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch

from common.models import SequenceModel
from common.sequences import SequenceBatch


class Evidence(Protocol):
    """How strongly a model speaks for one thing."""

    def __call__(self, output: torch.Tensor) -> torch.Tensor:
        """(B,) log-odds, in nats, of what the model gives of B cases."""
        ...


@dataclass(frozen=True, slots=True)
class ClassEvidence:
    """Of a classification: one class against all others, of logits (B, C)."""

    target: int

    def __call__(self, output: torch.Tensor) -> torch.Tensor:
        """See :class:`Evidence`."""
        return log_odds(output.float(), self.target)


@dataclass(frozen=True, slots=True)
class LabelEvidence:
    """Of several labels a case: that it has one of them, of logits (B, C)."""

    target: int

    def __call__(self, output: torch.Tensor) -> torch.Tensor:
        """See :class:`Evidence`."""
        return output[:, self.target].float()


@dataclass(frozen=True, slots=True)
class RiskEvidence:
    """Of a risk: that the event comes, by what was seen until the last step; of logits (B, T)."""

    def __call__(self, output: torch.Tensor) -> torch.Tensor:
        """See :class:`Evidence`."""
        return output[:, -1].float()


@dataclass(frozen=True, slots=True, eq=False)
class RegionEvidence:
    """Of a segmentation: one class against all others, as a mean over pixels; of logits (B, T, C, h, w).

    Attributes:
        target: The class.
        region: (T, h, w) bool, the pixels; at least one.
    """

    target: int
    region: torch.Tensor

    def __call__(self, output: torch.Tensor) -> torch.Tensor:
        """See :class:`Evidence`."""
        # The pixels first: of a whole stack most are not asked about.
        return log_odds(output.movedim(2, -1)[:, self.region].float(), self.target).mean(dim=1)


@dataclass(frozen=True, slots=True)
class BoxEvidence:
    """Of a detection: that a cell holds the middle of a box of a class; of (B, T, cells, C + 4).

    Attributes:
        cell: Its place among the cells of all steps.
        kind: The class.
    """

    cell: int
    kind: int

    def __call__(self, output: torch.Tensor) -> torch.Tensor:
        """See :class:`Evidence`."""
        return output.flatten(1, 2)[:, self.cell, self.kind].float()


def log_odds(logits: torch.Tensor, target: int) -> torch.Tensor:
    """(...) log-odds of class ``target`` of logits (..., C) under the softmax.

    They are ``z_c - log sum_{k != c} exp(z_k)``.
    """
    others = torch.cat([logits[..., :target], logits[..., target + 1 :]], dim=-1)
    return logits[..., target] - others.logsumexp(dim=-1)


def evidence_of(
    network: SequenceModel, steps: torch.Tensor, evidence: Evidence, *, encoded: bool = False
) -> torch.Tensor:
    """(B,) log-odds in cases (B, T, F) that have all their steps.

    Args:
        network: In eval mode.
        steps: On its device.
        evidence: What is explained.
        encoded: Whether the steps are what the network's encoder makes of a case.
    """
    lengths = torch.full((len(steps),), steps.shape[1])
    return evidence(network.on(SequenceBatch(steps, lengths, lengths, encoded)))


@contextmanager
def differentiable(network: SequenceModel) -> Iterator[None]:
    """The block in which gradients reach the input though the network is in eval mode.

    cuDNN's recurrent layers refuse the backward pass outside of training; torch's own do not.
    """
    wanted = [parameter.requires_grad for parameter in network.parameters()]
    network.requires_grad_(False)
    try:
        with torch.backends.cudnn.flags(enabled=False), torch.enable_grad():
            yield
    finally:
        for parameter, before in zip(network.parameters(), wanted, strict=True):
            parameter.requires_grad_(before)

"""What is explained of a classification: how strongly the model speaks for one class against all others.

The evidence for class c of logits z is ``z_c - log sum_{k != c} exp(z_k)``: the log-odds of c under the
softmax, so a value of 0 means even odds. The logit alone would not do: adding a number to all logits changes
no probability.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from common.models import SequenceModel


def evidence(logits: torch.Tensor, target: int) -> torch.Tensor:
    """(B,) log-odds, in nats, of class ``target`` in logits (B, C)."""
    others = torch.cat([logits[:, :target], logits[:, target + 1 :]], dim=1)
    return logits[:, target] - others.logsumexp(dim=1)


def evidence_of(network: SequenceModel, steps: torch.Tensor, target: int) -> torch.Tensor:
    """(B,) log-odds of class ``target`` in cases (B, T, F) that have all their steps."""
    lengths = torch.full((len(steps),), steps.shape[1])
    return evidence(network(steps, lengths).float(), target)


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

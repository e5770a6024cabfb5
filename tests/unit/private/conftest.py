"""What the engine is compared with: each record by itself, through torch's own autograd."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from common.private.bookkeeping import Bookkeeper

Losses = Callable[[list[int]], torch.Tensor]
"""From numbers of records to the losses of these records alone."""


@dataclass(frozen=True)
class Clipped:
    """Norms of all units, and what the parameters that are trained get."""

    norms: torch.Tensor
    sums: list[torch.Tensor]

    def assert_close(self, other: Clipped, tolerance: float = 1e-9) -> None:
        close = {"rtol": tolerance, "atol": tolerance}
        torch.testing.assert_close(self.norms, other.norms, **close)
        for own, others in zip(self.sums, other.sums, strict=True):
            torch.testing.assert_close(own, others, **close)


def one_by_one(
    model: nn.Module, losses: Losses, units: torch.Tensor, count: int, clip_norm: float
) -> Clipped:
    """Gradients of one record after the other, added for each unit, clipped and added."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    norms, sums = torch.zeros(count), [torch.zeros_like(p) for p in parameters]
    norms = norms.to(sums[0].dtype)
    for unit in range(count):
        whole = [torch.zeros_like(p) for p in parameters]
        for record in (units == unit).nonzero().flatten().tolist():
            found = torch.autograd.grad(losses([record]).sum(), parameters, allow_unused=True)
            whole = [w if f is None else w + f for w, f in zip(whole, found, strict=True)]
        norms[unit] = torch.cat([w.flatten() for w in whole]).norm()
        factor = (clip_norm / norms[unit]).clamp(max=1)
        sums = [s + factor * w for s, w in zip(sums, whole, strict=True)]
    return Clipped(norms, sums)


def at_once(model: nn.Module, losses: Losses, units: torch.Tensor, count: int, clip_norm: float) -> Clipped:
    """The engine's answer; the parameters' gradients are cleared before and after."""
    everything = list(range(len(units)))
    model.zero_grad()
    with Bookkeeper(model) as bookkeeper:
        norms = bookkeeper.clipped_sum(lambda: losses(everything), units, count, clip_norm)
    sums = [p.grad.clone() for p in model.parameters() if p.requires_grad and p.grad is not None]
    model.zero_grad()
    return Clipped(norms, sums)


@pytest.fixture(scope="session")
def expected() -> Callable[..., Clipped]:
    """``expected(model, losses, units, count, clip_norm)``, one record after the other."""
    return one_by_one


@pytest.fixture(scope="session")
def found() -> Callable[..., Clipped]:
    """``found(model, losses, units, count, clip_norm)``, by the engine."""
    return at_once

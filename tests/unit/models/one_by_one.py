"""Clipped sums by one backward pass a unit: what private training of a layer is compared with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from common.private.bookkeeping import Bookkeeper

CLIP = 0.5


def assert_clipped_one_by_one(
    model: nn.Module, losses: Callable[[], torch.Tensor], units: torch.Tensor
) -> None:
    """Pass if the engine finds each unit's norm and the clipped sum that autograd finds unit by unit.

    Norms may be up to half a per cent too large, as the engine states; none may be too small.
    """
    parameters, count = list(model.parameters()), int(units.max()) + 1
    total, norms = [torch.zeros_like(p) for p in parameters], []
    for unit in range(count):
        own = torch.autograd.grad(losses()[units == unit].sum(), parameters)
        norms.append(torch.stack([g.square().sum() for g in own]).sum().sqrt())
        for into, gradient in zip(total, own, strict=True):
            into += gradient * (CLIP / norms[-1]).clamp(max=1)
    exact = torch.stack(norms)
    assert exact.max() > CLIP  # or nothing would be clipped
    with Bookkeeper(model) as keeper:
        found = keeper.clipped_sum(losses, units, count, CLIP)
    assert ((found >= exact * (1 - 1e-9)) & (found <= exact * 1.005)).all()
    for parameter, wanted in zip(parameters, total, strict=True):
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-6, atol=1e-9)

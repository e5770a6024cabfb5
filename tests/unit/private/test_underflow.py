"""What is too small for a square in float32 is clipped all the same: a norm of 0 would let it through."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from common.private.bookkeeping import Bookkeeper


@pytest.mark.parametrize("steps", [1, 4, 64])
@pytest.mark.parametrize(("scale", "clip_norm"), [(1e-24, 1e-30), (1e-21, 1e-25), (1e-30, 1e-6)])
def test_small_gradients_keep_to_a_small_norm(steps: int, scale: float, clip_norm: float) -> None:
    torch.manual_seed(0)
    layer, inputs = nn.Linear(6, 5), torch.randn(3, steps, 6)
    with Bookkeeper(layer) as bookkeeper:
        norms = bookkeeper.clipped_sum(
            lambda: scale * layer(inputs).sum(dim=(1, 2)), torch.arange(3), 3, clip_norm
        )
    total = torch.cat([p.grad.double().flatten() for p in layer.parameters() if p.grad is not None]).norm()
    assert total <= 3 * clip_norm * (1 + 1e-5)
    assert (norms > 0).all()


@pytest.mark.parametrize("steps", [1, 4, 64])
def test_large_inputs_do_not_hide_small_gradients(steps: int) -> None:
    torch.manual_seed(0)
    layer, inputs = nn.Linear(6, 5), 1e19 * torch.randn(2, steps, 6)
    with Bookkeeper(layer) as bookkeeper:
        bookkeeper.clipped_sum(lambda: 1e-23 * layer(inputs).sum(dim=(1, 2)), torch.arange(2), 2, 1e-3)
    assert layer.weight.grad is not None and layer.weight.grad.double().norm() <= 2e-3 * (1 + 1e-5)


def test_an_embedding_is_no_way_round() -> None:
    table = nn.Embedding(4, 3)
    with Bookkeeper(table) as bookkeeper:
        places = torch.tensor([[0, 1], [2, 2]])
        bookkeeper.clipped_sum(lambda: 1e-24 * table(places).sum(dim=(1, 2)), torch.arange(2), 2, 1e-30)
    assert table.weight.grad is not None and table.weight.grad.double().norm() <= 2e-30 * (1 + 1e-5)

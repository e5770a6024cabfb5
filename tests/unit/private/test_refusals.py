"""What cannot be trained privately is refused by name, before training or at the moment it shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from common.errors import LayerNotPrivate
from common.models.pooling import AttentionPool
from common.private import recurrent
from common.private.bookkeeping import Bookkeeper


class OwnScale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))


class LoudLinear(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


class LoudGRU(recurrent.GRU):
    def forward(self, *args: Any) -> Any:
        return super().forward(*args)


class WithGain(nn.Linear):
    def __init__(self) -> None:
        super().__init__(3, 2)
        self.gain = nn.Parameter(torch.ones(2))


def overruled() -> nn.Module:
    layer = nn.Linear(3, 2)
    layer.forward = lambda x: x  # type: ignore[method-assign]
    return layer


REFUSED = {
    "BatchNorm1d": lambda: nn.BatchNorm1d(3),
    "BatchNorm2d": lambda: nn.BatchNorm2d(3, affine=False),
    "SyncBatchNorm": lambda: nn.SyncBatchNorm(3),
    "InstanceNorm1d": lambda: nn.InstanceNorm1d(3, track_running_stats=True),
    "InstanceNorm2d": lambda: nn.InstanceNorm2d(3, affine=True),
    "MultiheadAttention": lambda: nn.MultiheadAttention(4, 2),
    "GRU": lambda: nn.GRU(3, 2),
    "LSTM": lambda: nn.LSTM(3, 2),
    "GRUCell": lambda: nn.GRUCell(3, 2),
    "Bilinear": lambda: nn.Bilinear(3, 2, 2),
    "Conv3d": lambda: nn.Conv3d(1, 1, 2),
    "ConvTranspose2d": lambda: nn.ConvTranspose2d(1, 1, 2),
    "EmbeddingBag": lambda: nn.EmbeddingBag(3, 2),
    "PReLU": nn.PReLU,
    "ParameterList": lambda: nn.ParameterList([torch.ones(2)]),
    "OwnScale": OwnScale,
    "LoudLinear": lambda: LoudLinear(3, 2),
    "LoudGRU": lambda: LoudGRU(3, 2),
    "WithGain": WithGain,
    "Linear": overruled,
}


@pytest.mark.parametrize("kind", REFUSED)
def test_layer_without_a_rule_is_refused_by_place_and_type(kind: str) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.ReLU(), REFUSED[kind]()))
    with pytest.raises(LayerNotPrivate, match=rf"^1\.1 \({kind}\) "):
        Bookkeeper(model)
    with pytest.raises(LayerNotPrivate, match=rf"the model itself \({kind}\)"):
        Bookkeeper(REFUSED[kind]())


def test_refused_model_has_no_hooks() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Bilinear(3, 3, 2))
    with pytest.raises(LayerNotPrivate):
        Bookkeeper(model)
    assert not model[0]._forward_hooks


def test_parametrised_weight_is_refused() -> None:
    with pytest.raises(LayerNotPrivate, match="parametrizations"):
        Bookkeeper(nn.Sequential(weight_norm(nn.Linear(3, 2, bias=False))))


@pytest.mark.parametrize("options", [{"max_norm": 1.0}, {"scale_grad_by_freq": True}])
def test_embedding_that_looks_at_others_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(LayerNotPrivate, match=f"0.*{next(iter(options))}"):
        Bookkeeper(nn.Sequential(nn.Embedding(5, 2, **options)))


def test_parameter_of_two_layers_is_refused_with_both_named() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    with pytest.raises(LayerNotPrivate, match="2 shares a parameter with 0"):
        Bookkeeper(model)


def test_frozen_layer_without_a_rule_is_welcome() -> None:
    model = nn.Sequential(nn.Bilinear(3, 3, 2).requires_grad_(False), nn.Linear(2, 2))
    Bookkeeper(model).close()


def test_frozen_batch_normalisation_is_refused_all_the_same() -> None:
    with pytest.raises(LayerNotPrivate, match="over the batch"):
        Bookkeeper(nn.Sequential(nn.BatchNorm1d(3).requires_grad_(False)))


def test_subclass_that_computes_nothing_else_is_welcome() -> None:
    class Named(nn.Linear):
        title = "head"

    Bookkeeper(nn.Sequential(Named(3, 2), AttentionPool(2), nn.InstanceNorm1d(2), nn.Dropout())).close()


def run(model: nn.Module, losses: Callable[[], torch.Tensor], records: int = 4) -> None:
    with Bookkeeper(model) as bookkeeper:
        bookkeeper.clipped_sum(losses, torch.arange(records), records, 1.0)


def assert_refused(
    model: nn.Module, losses: Callable[[], torch.Tensor], reason: str, records: int = 4
) -> None:
    with pytest.raises(LayerNotPrivate, match=reason):
        run(model, losses, records)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("also_called", [False, True])
def test_weight_that_the_model_multiplies_with_itself_is_refused(also_called: bool) -> None:
    model, x = nn.Sequential(nn.Linear(3, 3)), torch.randn(4, 3)

    def losses() -> torch.Tensor:
        hidden = model(x) if also_called else x
        return (hidden @ model[0].weight).sum(1)

    assert_refused(model, losses, "a parameter of 0 was used")


def test_weight_used_by_itself_is_refused_though_a_use_by_its_layer_was_thrown_away() -> None:
    model, x = nn.Sequential(nn.Linear(3, 3, bias=False)), torch.randn(4, 3)

    def losses() -> torch.Tensor:
        model(x)
        return (x @ model[0].weight).sum(1)

    assert_refused(model, losses, "a parameter of 0 was used")


def test_weight_of_a_recurrent_layer_used_by_itself_is_refused() -> None:
    model, x = nn.Sequential(recurrent.GRU(3, 3, batch_first=True)), torch.randn(4, 5, 3)
    assert_refused(
        model, lambda: (model(x)[0][:, -1] @ model[0].weight_hh_l0.t()).sum(1), "a parameter of 0 was used"
    )


def test_penalty_on_the_weights_in_the_losses_is_refused() -> None:
    model, x = nn.Sequential(nn.Linear(3, 1)), torch.randn(4, 3)
    assert_refused(model, lambda: model(x)[:, 0] + model[0].weight.square().sum(), "0 was used 2 times")


def test_layer_that_was_frozen_at_first_and_has_no_rule_is_refused() -> None:
    model, x = nn.Sequential(nn.PReLU().requires_grad_(False), nn.Linear(3, 1)), torch.randn(4, 3)
    with Bookkeeper(model) as bookkeeper:
        model[0].requires_grad_()
        with pytest.raises(LayerNotPrivate, match="0 was used"):
            bookkeeper.clipped_sum(lambda: model(x)[:, 0], torch.arange(4), 4, 1.0)


def test_steps_before_records_are_refused() -> None:
    model, x = nn.Sequential(nn.Linear(3, 2)), torch.randn(5, 4, 3)
    assert_refused(model, lambda: model(x).sum(dim=(0, 2)), "0 worked on 5 rows where there are 4")


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.Linear(3, 1), (3,)), (nn.Conv1d(3, 1, 2), (3, 2)), (nn.Conv2d(1, 1, 2), (1, 2, 2))],
)
def test_record_without_a_batch_is_refused(layer: nn.Module, shape: tuple[int, ...]) -> None:
    model, x = nn.Sequential(layer), torch.randn(*shape)
    assert_refused(model, lambda: model(x).flatten(), "without a dimension of records", records=1)


def test_input_that_is_changed_after_a_layer_saw_it_is_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))

    def losses() -> torch.Tensor:
        hidden = model[0](torch.ones(4, 3))
        out = model[1](hidden)
        hidden += 1
        return (hidden + out).sum(1)

    assert_refused(model, losses, "of 1 was later changed in place")


def test_input_of_a_recurrent_layer_that_is_changed_is_refused() -> None:
    model, x = nn.Sequential(recurrent.GRU(3, 3, batch_first=True)), torch.randn(4, 5, 3)

    def losses() -> torch.Tensor:
        out = model(x)[0]
        x.zero_()
        return out.sum(dim=(1, 2))

    assert_refused(model, losses, "of 0 was later changed in place")


def test_output_that_is_changed_in_place_is_exact_or_refused(
    expected: Callable[..., Any], found: Callable[..., Any]
) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True), nn.Linear(3, 2)).double()
    flat, deep = torch.randn(4, 3, dtype=torch.double), torch.randn(4, 5, 3, dtype=torch.double)
    every = (model, lambda records: model(flat[records]).sum(1), torch.arange(4), 4, 0.5)
    expected(*every).assert_close(found(*every))
    # Over steps, a linear layer's output is a view, of which autograd loses the place.
    model.zero_grad(set_to_none=True)
    assert_refused(model, lambda: model(deep).sum(dim=(1, 2)), "0 was later changed in place")

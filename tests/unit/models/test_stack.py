"""Residual stacks and layer norms: what they compute, by the plain torch modules that they are made of."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn

from common.models import SequenceClassifier, build_model
from common.models.cells import Stack
from common.private.recurrent import GRU, LSTM, RNN
from common.study import parse_study
from tests.unit.models.one_by_one import assert_clipped_one_by_one

KINDS = {"gru": GRU, "lstm": LSTM, "rnn": RNN}
LENGTHS = torch.tensor([3, 6, 1, 6])
CONNECTIONS = [
    pytest.param(kind, residual, norm, both, id=f"{kind}-{residual:d}{norm:d}{both:d}")
    for kind, residual, norm, both in product(KINDS, [False, True], [False, True], [False, True])
]


def steps() -> torch.Tensor:
    """(4, 6, 3) with zeros behind LENGTHS."""
    x = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for case, length in enumerate(LENGTHS):
        x[case, length:] = 0
    return x


def stack(kind: str, residual: bool, norm: bool, both: bool = False, dropout: float = 0.0) -> Stack:
    torch.manual_seed(0)
    made = Stack(
        KINDS[kind], 3, 4, 3, bidirectional=both, dropout=dropout, residual=residual, layer_norm=norm
    ).double()
    for layer in made.norms:
        for parameter in layer.parameters():
            nn.init.normal_(parameter)
    return made


@pytest.mark.parametrize(("kind", "residual", "norm", "both"), CONNECTIONS)
@torch.no_grad()
def test_each_layer_reads_the_normalised_sum_of_those_below(
    kind: str, residual: bool, norm: bool, both: bool
) -> None:
    made, x = stack(kind, residual, norm, both), steps()
    found = made(x, LENGTHS)
    for case, length in enumerate(LENGTHS):
        state = x[case : case + 1, :length]
        for number, layer in enumerate(made.layers):
            given = made.norms[number - 1](state) if number else state
            output = layer(given)[0]
            state = state + output if number and residual else output
        torch.testing.assert_close(found[case : case + 1, :length], state)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_without_connections_it_is_torch_s_own_stack(kind: str) -> None:
    made, plain = stack(kind, False, False), KINDS[kind](3, 4, 3, batch_first=True).double()
    for number, layer in enumerate(made.layers):
        for name, weight in layer.named_parameters():
            plain.get_parameter(name.replace("_l0", f"_l{number}")).copy_(weight)
    whole = torch.tensor([6, 6, 6, 6])
    torch.testing.assert_close(made(steps(), whole), plain(steps())[0])


def test_dropout_acts_between_layers_in_training_only() -> None:
    made, x = stack("gru", True, True, dropout=0.5), steps()
    assert not torch.equal(made(x, LENGTHS), made(x, LENGTHS))
    made.eval()
    assert torch.equal(made(x, LENGTHS), made(x, LENGTHS))


@pytest.mark.parametrize("kind", KINDS)
def test_clipped_sum_is_that_of_one_record_gradients(kind: str) -> None:
    made, x = stack(kind, True, True, both=True), steps()

    def losses() -> torch.Tensor:
        mask = torch.arange(6)[None] < LENGTHS[:, None]
        return ((made(x, LENGTHS) + 1).square().sum(dim=2) * mask).sum(dim=1)

    assert_clipped_one_by_one(made, losses, torch.tensor([0, 1, 2, 1]))


def model(**keys: object) -> SequenceClassifier:
    document = {"name": "x", "labels": {"0": "a", "1": "b"}}
    made = build_model(parse_study({"study": document, "model": {"layers": 2, "hidden": 4, **keys}}))
    assert isinstance(made, SequenceClassifier)
    return made


def test_names_of_weights_are_those_that_are_documented() -> None:
    layers = [
        f"recurrent.layers.{layer}.{kind}_l0"
        for layer in (0, 1)
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    head = ["head.weight", "head.bias"]
    norms = ["recurrent.norms.0.weight", "recurrent.norms.0.bias"]
    assert list(model(residual=True).state_dict()) == [*layers, *head]
    assert list(model(residual=True, layer_norm=True).state_dict()) == [*layers, *norms, *head]


def test_without_connections_the_model_is_torch_s() -> None:
    recurrent = model(cell="lstm").recurrent
    assert type(recurrent) is LSTM
    assert set(recurrent.state_dict()) == set(nn.LSTM(128, 4, 2).state_dict())

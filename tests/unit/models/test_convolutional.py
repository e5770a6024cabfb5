"""Convolutional cells: torch's cells on one pixel, no padding in any result, one record's gradient each."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from common.models.cells import ConvGRU, ConvLSTM
from common.models.cells.convolutional import ConvRecurrent
from tests.unit.models.one_by_one import assert_clipped_one_by_one

CELLS = {"gru": (ConvGRU, nn.GRUCell, nn.GRU), "lstm": (ConvLSTM, nn.LSTMCell, nn.LSTM)}
LENGTHS = torch.tensor([3, 6, 1, 6, 4])


def maps(channels: int = 3, side: tuple[int, int] = (4, 5)) -> torch.Tensor:
    """(5, 6, channels, *side) with zeros behind LENGTHS."""
    x = torch.randn(5, 6, channels, *side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for case, length in enumerate(LENGTHS):
        x[case, length:] = 0
    return x


def seeded(kind: type[ConvRecurrent], *args: int, **options: bool) -> ConvRecurrent:
    torch.manual_seed(0)
    return kind(*args, **options).double()


@pytest.mark.parametrize("name", CELLS)
@torch.no_grad()
def test_one_pixel_and_kernel_one_is_torch_s_cell(name: str) -> None:
    kind, single, _ = CELLS[name]
    cell, plain, x = seeded(kind, 3, 4, 1, 1), single(3, 4).double(), maps(side=(1, 1))
    for mine, theirs in (("input", "ih"), ("hidden", "hh")):
        for part in ("weight", "bias"):
            own = getattr(cell.get_submodule(f"{mine}_l0"), part)
            own.copy_(getattr(plain, f"{part}_{theirs}").view_as(own))
    found, state = cell(x, LENGTHS)[..., 0, 0], None
    for step in range(6):
        state = plain(x[:, step, :, 0, 0], state)
        expected = state if name == "gru" else state[0]
        here = step < LENGTHS
        torch.testing.assert_close(found[here, step], expected[here], atol=1e-6, rtol=0)
        assert not found[~here, step].any()


@pytest.mark.parametrize(("name", "both", "layers"), list(product(CELLS, [False, True], [1, 2])))
@torch.no_grad()
def test_one_pixel_stack_is_torch_s_stack_on_packed_cases(name: str, both: bool, layers: int) -> None:
    kind, _, stack = CELLS[name]
    cell = seeded(kind, 3, 4, layers, 1, bidirectional=both)
    plain = stack(3, 4, layers, bidirectional=both, batch_first=True).double()
    for key, weight in plain.named_parameters():
        part, product_, suffix = key.split("_", 2)
        own = getattr(cell.get_submodule(f"{'input' if product_ == 'ih' else 'hidden'}_{suffix}"), part)
        weight.copy_(own.view_as(weight))
    x = maps(side=(1, 1))
    packed = nn.utils.rnn.pack_padded_sequence(x[..., 0, 0], LENGTHS, batch_first=True, enforce_sorted=False)
    expected = nn.utils.rnn.pad_packed_sequence(plain(packed)[0], batch_first=True)[0]
    torch.testing.assert_close(cell(x, LENGTHS)[..., 0, 0], expected, atol=1e-6, rtol=0)


@torch.no_grad()
def test_gru_follows_its_equations_on_maps() -> None:
    cell, x = seeded(ConvGRU, 3, 4), maps()
    given, hidden = cell.get_submodule("input_l0"), cell.get_submodule("hidden_l0")
    h = torch.zeros(1, 4, 4, 5, dtype=torch.float64)
    for step in range(6):
        w = conv2d(x[1:2, step], given.weight, given.bias, padding=1)  # type: ignore[arg-type]
        u = conv2d(h, hidden.weight, hidden.bias, padding=1)  # type: ignore[arg-type]
        r, z = (w[:, :4] + u[:, :4]).sigmoid(), (w[:, 4:8] + u[:, 4:8]).sigmoid()
        h = (1 - z) * (w[:, 8:] + r * u[:, 8:]).tanh() + z * h
        torch.testing.assert_close(cell(x, LENGTHS)[1:2, step], h)


@pytest.mark.parametrize(("name", "both", "layers"), list(product(CELLS, [False, True], [1, 2])))
@torch.no_grad()
def test_case_s_states_are_those_it_has_alone_whatever_stands_in_the_padding(
    name: str, both: bool, layers: int
) -> None:
    cell, x = seeded(CELLS[name][0], 3, 4, layers, bidirectional=both), maps()
    garbage = x.clone()
    for case, length in enumerate(LENGTHS):
        garbage[case, length:] = float("nan")
    together = cell(garbage, LENGTHS)
    assert together.shape == (5, 6, cell.features, 4, 5)
    for case, length in enumerate(LENGTHS):
        alone = cell(x[case : case + 1, :length], LENGTHS[case : case + 1])
        torch.testing.assert_close(together[case : case + 1, :length], alone)
        assert not together[case, length:].any()


def test_kernel_without_a_middle_is_refused() -> None:
    with pytest.raises(ValueError, match="no middle"):
        ConvGRU(3, 4, kernel=2)


def test_dropout_acts_between_layers_in_training_only() -> None:
    cell, x = ConvGRU(3, 4, 2, dropout=0.5).double(), maps()
    assert not torch.equal(cell(x, LENGTHS), cell(x, LENGTHS))
    cell.eval()
    assert torch.equal(cell(x, LENGTHS), cell(x, LENGTHS))


@pytest.mark.parametrize(("name", "both"), list(product(CELLS, [False, True])))
def test_clipped_sum_is_that_of_one_record_gradients(name: str, both: bool) -> None:
    cell, x = seeded(CELLS[name][0], 3, 4, 2, bidirectional=both), maps()

    def losses() -> torch.Tensor:
        return (cell(x, LENGTHS).square() * torch.arange(1, 6).view(5, 1, 1, 1, 1) / 9).sum(dim=(1, 2, 3, 4))

    assert_clipped_one_by_one(cell, losses, torch.tensor([0, 1, 2, 1, 3]))

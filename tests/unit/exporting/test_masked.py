"""Layers with masks give what layers with packed sequences give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from client.exporting.encoders import masked_encoder
from client.exporting.hog import MaskedHogFrames, MaskedHogRows, angle
from client.exporting.masked import MaskedRecurrent
from client.exporting.network import ExportableClassifier
from common.errors import TaskNotServed
from common.models.cells import GRUD, ConvGRU, ConvLSTM, OfLengths, Stack
from common.models.hog import HogFrames, HogRows
from common.private.recurrent import GRU, LSTM, RNN
from tests.conftest import small_model

LENGTHS = torch.tensor([7, 1, 4])


def padded(*sides: int, steps: int = 7) -> torch.Tensor:
    x = torch.randn(3, steps, *sides, generator=torch.Generator().manual_seed(0))
    own = torch.arange(steps)[None] < LENGTHS[:, None]
    return x * own.reshape(3, steps, *(1,) * len(sides))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", [GRU, LSTM, RNN, nn.GRU])
def test_recurrent_layers(kind: Any, layers: int, bidirectional: bool) -> None:
    torch.manual_seed(0)
    layer = kind(5, 4, num_layers=layers, batch_first=True, bidirectional=bidirectional).eval()
    packed = pack_padded_sequence(padded(5), LENGTHS, batch_first=True, enforce_sorted=False)
    with torch.no_grad():
        expected = pad_packed_sequence(layer(packed)[0], batch_first=True, total_length=7)[0]
        found = MaskedRecurrent(layer)(padded(5), LENGTHS)
    assert torch.allclose(found, expected, atol=1e-6)


def test_a_layer_without_biases_and_a_rectified_one() -> None:
    torch.manual_seed(0)
    for layer in (RNN(5, 4, nonlinearity="relu", batch_first=True), GRU(5, 4, bias=False, batch_first=True)):
        x = padded(5)[:1]
        with torch.no_grad():
            expected = layer(x)[0]
            assert torch.allclose(MaskedRecurrent(layer)(x, LENGTHS[:1]), expected, atol=1e-6)


def alike(layer: OfLengths, x: torch.Tensor) -> bool:
    """Of the whole batch, and of a case alone, without its padding."""
    layer.eval()
    masked, alone = MaskedRecurrent(layer), x[2:, : LENGTHS[2]]
    with torch.no_grad():
        expected = layer(x, LENGTHS)
        found, own = masked(x, LENGTHS), masked(alone, LENGTHS[2:])
    return torch.allclose(found, expected, atol=1e-6) and torch.allclose(
        own, expected[2:, : LENGTHS[2]], atol=1e-6
    )


@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, True)])
@pytest.mark.parametrize("kind", [ConvGRU, ConvLSTM])
def test_cells_over_maps(kind: Any, layers: int, bidirectional: bool) -> None:
    torch.manual_seed(0)
    layer = kind(2, 3, layers=layers, bidirectional=bidirectional)
    assert alike(layer, padded(2, 5, 4))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    ("kind", "residual", "layer_norm"), [(GRU, True, False), (LSTM, False, True), (RNN, True, True)]
)
def test_stacks(kind: Any, residual: bool, layer_norm: bool, bidirectional: bool) -> None:
    torch.manual_seed(0)
    stack = Stack(kind, 5, 4, 3, bidirectional=bidirectional, residual=residual, layer_norm=layer_norm)
    for norm in stack.norms:
        for weight in norm.parameters():
            nn.init.normal_(weight)
    assert alike(stack, padded(5))


def test_records_with_what_was_measured_last() -> None:
    torch.manual_seed(0)
    values, flags, gaps = padded(12).chunk(3, dim=2)
    flags = (flags > 0).float()
    assert alike(GRUD(4, 3), torch.cat([values * flags, flags, gaps.abs()], dim=2))


@pytest.mark.parametrize("kind", [GRU, LSTM])
def test_steps_one_by_one_are_the_scan(kind: Any) -> None:
    torch.manual_seed(0)
    x = padded(5)[:1]
    for layer in (kind(5, 4, num_layers=2, batch_first=True), Stack(kind, 5, 4, 2, residual=True)):
        masked = MaskedRecurrent(layer.eval())
        state, found = torch.zeros(masked.states, 1, 4), []
        with torch.no_grad():
            for step in range(7):
                said, state = masked.step(x[:, step], state)
                found.append(said)
            assert torch.allclose(torch.stack(found, dim=1), masked(x, LENGTHS[:1]), atol=1e-6)


@pytest.mark.parametrize("steps", [1, 4, 7, 8, 33])
@pytest.mark.parametrize("filler", [0.0, torch.nan])
def test_histograms_of_gradients(filler: float, steps: int) -> None:
    """Of noise and even areas; of lengths that are or are no multiple of the cell; whatever is behind."""
    generator = torch.Generator().manual_seed(steps)
    lengths = torch.tensor([steps, 1, (steps + 1) // 2, steps])
    x = torch.randn(4, steps, 30, generator=generator, dtype=torch.float64)
    x[:2] = x[:2].round()
    x[3] = 1.0
    x[torch.arange(steps) >= lengths[:, None]] = filler
    for cell in (4, 16):
        expected, shorter = HogRows(30, cell)(x, lengths)
        found, same = MaskedHogRows(HogRows(30, cell))(x, lengths)
        assert same.tolist() == shorter.tolist()
        rows = expected.shape[1]
        torch.testing.assert_close(found[:, :rows], expected, atol=1e-12, rtol=0)
        assert not found[:, rows:].any()
        frames = HogFrames((5, 6), cell)
        found, same = MaskedHogFrames(frames)(x, lengths)
        torch.testing.assert_close(found, frames(x, lengths)[0], atol=1e-12, rtol=0)
        assert same is lengths


def test_angle_of_every_sign_and_of_no_gradient() -> None:
    sides = torch.tensor([0.0, -0.0, 1.0, -1.0, 1e-10, -1e-10, 3e5, -3e5, 0.3, -0.7])
    down, across = torch.meshgrid(sides, sides, indexing="ij")
    found, some = angle(down, across), (down != 0) | (across != 0)
    apart = found - torch.atan2(down, across)
    turns = torch.round(apart / (2 * torch.pi))  # a half turn to the left is one to the right
    torch.testing.assert_close(apart[some], (turns * 2 * torch.pi)[some], atol=1e-6, rtol=0)
    assert found.isfinite().all()


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
@pytest.mark.parametrize(
    "sequence",
    [{"kind": "rows", "size": 8}, {"kind": "patches", "size": 16, "patch": 8}, {"kind": "frames", "size": 8}],
    ids=lambda s: s["kind"],
)
@pytest.mark.parametrize("encoder", ["none", "cnn", "hog"])
def test_whole_models(encoder: str, sequence: dict[str, Any], pooling: str) -> None:
    model = {"encoder": encoder, "pooling": pooling, "bidirectional": True, "dropout": 0.3}
    network = small_model(2, sequence=sequence, model=model)
    width = 8 if sequence["kind"] == "rows" else 64
    with torch.no_grad():
        expected = network(padded(width), LENGTHS)
        found = ExportableClassifier(network)(padded(width), LENGTHS)
    assert torch.allclose(found, expected, atol=1e-6)


def test_what_has_no_counterpart_is_refused_by_name() -> None:
    with pytest.raises(TaskNotServed, match="Linear"):
        MaskedRecurrent(nn.Linear(2, 2))
    with pytest.raises(TaskNotServed, match="encoder of kind Linear"):
        masked_encoder(nn.Linear(2, 2))

"""Each layer's gradients of single units are those of its records one by one, whatever its options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from common.models.encoders import MaskedGroupNorm
from common.private import recurrent
from common.private.clipping import parts, products
from common.private.tape import folded

Compare = Callable[..., Any]
RECORDS = 5
UNITS = {
    "single": (torch.arange(5), 5),
    "ragged": (torch.tensor([0, 2, 2, 2, 3]), 5),
    "pairs": (torch.tensor([0, 0, 1, 1, 2, 2]), 3),
}
every_division = pytest.mark.parametrize("division", UNITS)


def case(layer: nn.Module, *shape: int, name: str = "") -> Any:
    return pytest.param(layer, shape, id=name or repr(layer).replace("\n", " "))


LAYERS = [
    case(nn.Linear(3, 2), 3),
    case(nn.Linear(3, 4, bias=False), 6, 3),
    case(nn.Linear(4, 3), 2, 3, 4),
    case(nn.Conv1d(3, 4, 3), 3, 8),
    case(nn.Conv1d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2), 4, 9),
    case(nn.Conv1d(2, 3, 4, padding="same", dilation=3, bias=False), 2, 8),
    case(nn.Conv2d(2, 3, 3), 2, 5, 6),
    case(nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 3), groups=2), 4, 7, 6),
    case(nn.Conv2d(4, 4, 3, padding=1, groups=4), 4, 5, 5),
    case(nn.Conv2d(2, 2, (2, 5), padding="same", padding_mode="circular"), 2, 6, 7),
    case(nn.Conv2d(2, 2, 3, stride=2, padding=1, padding_mode="reflect"), 2, 6, 7),
    case(nn.Conv2d(1, 3, 4, stride=3, padding="valid"), 1, 8, 8),
    case(nn.Conv2d(3, 2, (4, 5)), 3, 4, 5),
    case(nn.GroupNorm(2, 6), 6),
    case(nn.GroupNorm(3, 6), 6, 4),
    case(nn.GroupNorm(2, 4), 4, 3, 5),
    case(nn.LayerNorm(5), 5),
    case(nn.LayerNorm(5, bias=False), 4, 5),
    case(nn.LayerNorm((3, 5)), 2, 3, 5),
]


class Scored(nn.Module):
    """A layer, its outputs mixed by something that cannot be guessed, to one number a record."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *inputs: Any) -> torch.Tensor:
        out = self.layer(*inputs)
        out = (out[0] if isinstance(out, tuple) else out).flatten(1)
        mixture = torch.linspace(-1, 2, out.shape[1], dtype=out.dtype).cos()
        return torch.tanh(out @ mixture) + out.square().mean(dim=1)


def random_weights(model: nn.Module) -> nn.Module:
    """In float64, and no scale left at one."""
    torch.manual_seed(0)
    for parameter in model.double().parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@every_division
@pytest.mark.parametrize(("layer", "shape"), LAYERS)
def test_layer(
    layer: nn.Module, shape: tuple[int, ...], division: str, expected: Compare, found: Compare
) -> None:
    units, count = UNITS[division]
    model = random_weights(Scored(layer))
    x = torch.randn(len(units), *shape, dtype=torch.double)
    every = (model, lambda records: model(x[records]), units, count)
    expected(*every, 0.4).assert_close(found(*every, 0.4))


@pytest.mark.parametrize("step_bytes", [1, 2**20], ids=["a-unit-at-a-time", "at-once"])
@pytest.mark.parametrize("method", ["kept", "gram", "streamed"])
@pytest.mark.parametrize(
    ("layer", "shape"), [case(nn.Linear(3, 4), 6, 3), case(nn.Conv1d(4, 6, 3, groups=2), 4, 9)]
)
@every_division
def test_every_way_to_the_norm(
    layer: nn.Module,
    shape: tuple[int, ...],
    division: str,
    method: str,
    step_bytes: int,
    expected: Compare,
    found: Compare,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products.Product, "_method", lambda self: method)
    monkeypatch.setattr(products, "GRAM_BYTES", step_bytes)
    monkeypatch.setitem(parts.STREAM_BYTES, "cpu", step_bytes)
    test_layer(layer, shape, division, expected, found)


@every_division
@pytest.mark.parametrize("padding", [None, 2, -1])
def test_embedding(padding: int | None, division: str, expected: Compare, found: Compare) -> None:
    units, count = UNITS[division]
    model = random_weights(Scored(nn.Embedding(7, 3, padding_idx=padding)))
    words = torch.randint(7, (len(units), 9), generator=torch.Generator().manual_seed(1))
    every = (model, lambda records: model(words[records]), units, count)
    expected(*every, 0.4).assert_close(found(*every, 0.4))


class Recurred(nn.Module):
    """A recurrent layer over sequences of their own lengths, packed in the order in which they come."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.layer(packed)[0], batch_first=True, total_length=x.shape[1])
        return out


@every_division
@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}], ids=["one", "four"])
@pytest.mark.parametrize("kind", [recurrent.GRU, recurrent.LSTM, recurrent.RNN])
def test_recurrent(
    kind: type[nn.RNNBase],
    options: dict[str, Any],
    packed: bool,
    division: str,
    expected: Compare,
    found: Compare,
) -> None:
    units, count = UNITS[division]
    layer = kind(3, 4, batch_first=True, **options)
    model = random_weights(Scored(Recurred(layer) if packed else layer))
    x = torch.randn(len(units), 6, 3, dtype=torch.double)
    lengths = torch.tensor([2, 6, 1, 5, 3, 4])[: len(units)]
    inputs = (x, lengths) if packed else (x,)
    every = (model, lambda records: model(*(i[records] for i in inputs)), units, count)
    expected(*every, 0.4).assert_close(found(*every, 0.4))


class Framed(nn.Module):
    """A layer over all frames of all records, which may have different numbers of them."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, frames: list[torch.Tensor]) -> torch.Tensor:
        owner = torch.cat([torch.full((len(f),), record) for record, f in enumerate(frames)])
        with folded(owner):
            out = self.layer(torch.cat(frames)).flatten(1)
        return torch.tanh(out.new_zeros(len(frames), out.shape[1]).index_add(0, owner, out))


@every_division
@pytest.mark.parametrize("frames", [[3, 3, 3, 3, 3, 3], [1, 4, 2, 3, 1, 2]], ids=["regular", "irregular"])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        case(nn.Linear(3, 2), 3),
        case(nn.Linear(3, 4), 5, 3),
        case(nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2), 2, 5, 6),
        case(nn.GroupNorm(2, 4), 4, 3),
        case(nn.LayerNorm(4), 3, 4),
    ],
)
def test_folded_frames(
    layer: nn.Module,
    shape: tuple[int, ...],
    frames: list[int],
    division: str,
    expected: Compare,
    found: Compare,
) -> None:
    units, count = UNITS[division]
    model = random_weights(Scored(Framed(layer)))
    x = [torch.randn(n, *shape, dtype=torch.double) for n in frames]
    every = (model, lambda records: model([x[record] for record in records]), units, count)
    expected(*every, 0.4).assert_close(found(*every, 0.4))


@every_division
def test_masked_group_norm(division: str, expected: Compare, found: Compare) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = MaskedGroupNorm(2, 4)

        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return self.norm.masked(x, mask)

    units, count = UNITS[division]
    model = random_weights(Scored(Masked()))
    x = torch.randn(len(units), 4, 6, 3, dtype=torch.double)
    mask = torch.arange(6) < torch.tensor([2, 6, 1, 5, 3, 4])[: len(units), None]
    mask = mask[:, None, :, None].double()
    every = (model, lambda records: model(x[records], mask[records]), units, count)
    expected(*every, 0.4).assert_close(found(*every, 0.4))


@pytest.mark.parametrize(
    ("layer", "inputs"),
    [
        (nn.Sequential(nn.Linear(3, 3), nn.Tanh()), torch.randn(RECORDS, 4, 3)),
        (nn.Sequential(nn.Conv1d(3, 3, 3, padding=1), nn.Tanh()), torch.randn(RECORDS, 3, 6)),
        (nn.Sequential(nn.GroupNorm(1, 3), nn.Tanh()), torch.randn(RECORDS, 3, 6)),
        (recurrent.GRU(3, 3, batch_first=True), torch.randn(RECORDS, 4, 3)),
    ],
    ids=["linear", "convolution", "group-norm", "gru"],
)
def test_layer_that_is_called_again_counts_whole(
    layer: nn.Module, inputs: torch.Tensor, expected: Compare, found: Compare
) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(2):
                out = self.layer(x)
                x = out[0] if isinstance(out, tuple) else out
            return x

    model, x = random_weights(Scored(Twice())), inputs.double()
    units = torch.tensor([0, 0, 1, 2, 2])
    every = (model, lambda records: model(x[records]), units, 3)
    expected(*every, 0.4).assert_close(found(*every, 0.4))


def test_embedding_that_is_called_again_counts_whole(expected: Compare, found: Compare) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(6, 3)

        def forward(self, words: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.table(words[:, :4])) * self.table(words[:, 4:])

    model, words = random_weights(Scored(Twice())), torch.randint(6, (RECORDS, 8))
    every = (model, lambda records: model(words[records]), torch.tensor([0, 0, 1, 2, 2]), 3)
    expected(*every, 0.4).assert_close(found(*every, 0.4))


@pytest.mark.parametrize("frozen", ["weight", "bias"])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        case(nn.Linear(3, 2), 4, 3),
        case(nn.Conv1d(3, 2, 2), 3, 5),
        case(nn.GroupNorm(1, 3), 3, 5),
        case(nn.LayerNorm(3), 4, 3),
    ],
)
def test_what_is_frozen_counts_in_no_norm(
    layer: nn.Module, shape: tuple[int, ...], frozen: str, expected: Compare, found: Compare
) -> None:
    layer.get_parameter(frozen).requires_grad_(False)
    try:
        test_layer(layer, shape, "ragged", expected, found)
        assert layer.get_parameter(frozen).grad is None
    finally:
        layer.get_parameter(frozen).requires_grad_()

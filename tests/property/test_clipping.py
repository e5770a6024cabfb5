"""No unit moves a clipped sum by more than the clip norm, whatever its records are and whoever is there."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from common.models.encoders import FrameEncoder, RowEncoder
from common.models.pooling import AttentionPool
from common.private import recurrent
from common.private.bookkeeping import Bookkeeper
from common.private.clipping import grams
from common.private.clipping.rows import Rows
from common.private.tape import folded

CELLS = (recurrent.GRU, recurrent.LSTM, recurrent.RNN)
STEPS = 6
seeds = st.integers(0, 2**32 - 1)


class Everything(nn.Module):
    """All layers that can be trained privately, over packed sequences in the order in which they come."""

    def __init__(self, cell: type[nn.RNNBase], layers: int, bidirectional: bool) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 3, padding_idx=0)
        self.along = nn.Conv1d(3, 4, 3, padding=1, groups=1)
        self.frames = nn.Conv2d(1, 2, 2)
        self.group = nn.GroupNorm(1, 2)
        self.recurrent = cell(6, 3, layers, batch_first=True, bidirectional=bidirectional)
        width = 6 if bidirectional else 3
        self.layer = nn.LayerNorm(width)
        self.pooling = AttentionPool(width)
        self.head = nn.Linear(width, 2)

    def forward(self, words: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        mask = torch.arange(STEPS) < lengths[:, None]
        x = self.words(words).transpose(1, 2)
        x = torch.relu(self.along(x)).transpose(1, 2) * mask[:, :, None]
        own = mask.flatten().nonzero().squeeze(1)
        with folded(own // STEPS):
            pictures = x.flatten(0, 1)[own].view(-1, 1, 2, 2)
            seen = torch.tanh(self.group(self.frames(pictures))).flatten(1)
        seen = seen.new_zeros(mask.numel(), 2).index_copy(0, own, seen).view(*mask.shape, 2)
        packed = pack_padded_sequence(
            torch.cat([x, seen], 2), lengths, batch_first=True, enforce_sorted=False
        )
        out = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True, total_length=STEPS)[0]
        logits: torch.Tensor = self.head(self.pooling(self.layer(out), mask))
        return logits


@dataclass
class Batch:
    """Records of some units; weights make some of the gradients very long."""

    units: torch.Tensor
    words: torch.Tensor
    lengths: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor

    @classmethod
    def drawn(cls, sizes: list[int], seed: int) -> Batch:
        """``sizes[u]`` records of unit u."""
        generator, count = torch.Generator().manual_seed(seed), sum(sizes)
        return cls(
            torch.repeat_interleave(torch.tensor(sizes)),
            torch.randint(5, (count, STEPS), generator=generator),
            torch.randint(1, STEPS + 1, (count,), generator=generator),
            torch.randint(2, (count,), generator=generator),
            10 ** (4 * torch.rand(count, generator=generator, dtype=torch.double) - 2),
        )

    def without(self, unit: int) -> Batch:
        kept = self.units != unit
        return Batch(*(getattr(self, name)[kept] for name in self.__dataclass_fields__))

    def clipped_sum(self, model: nn.Module, count: int, clip_norm: float) -> torch.Tensor:
        """All parameters' gradients behind each other."""

        def losses() -> torch.Tensor:
            logits = model(self.words, self.lengths)
            return self.weights * cross_entropy(logits, self.labels, reduction="none")

        model.zero_grad()
        with Bookkeeper(model) as bookkeeper:
            bookkeeper.clipped_sum(losses, self.units, count, clip_norm)
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(0, 3), min_size=1, max_size=5),
    cell=st.sampled_from(CELLS),
    layers=st.integers(1, 2),
    bidirectional=st.booleans(),
    clip_norm=st.sampled_from([1e-3, 1.0, 50.0]),
    seed=seeds,
)
def test_removing_any_unit_moves_the_sum_by_at_most_the_clip_norm(
    sizes: list[int],
    cell: type[nn.RNNBase],
    layers: int,
    bidirectional: bool,
    clip_norm: float,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    model, batch = Everything(cell, layers, bidirectional).double(), Batch.drawn(sizes, seed)
    whole = batch.clipped_sum(model, len(sizes), clip_norm)
    for unit in range(len(sizes)):
        moved = whole - batch.without(unit).clipped_sum(model, len(sizes), clip_norm)
        assert float(moved.norm()) <= clip_norm * (1 + 1e-6)


@pytest.mark.parametrize("encoder", [RowEncoder(8), FrameEncoder((8, 8))], ids=["rows", "frames"])
@settings(max_examples=10)
@given(lengths=st.lists(st.integers(1, 4), min_size=2, max_size=4), seed=seeds)
def test_encoders_keep_cases_apart(encoder: nn.Module, lengths: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    model = encoder.double()
    steps = torch.randn(len(lengths), 4, 64 if isinstance(encoder, FrameEncoder) else 8, generator=generator)
    own = torch.tensor(lengths)
    steps = steps.double() * (torch.arange(4) < own[:, None])[:, :, None]

    def summed(records: list[int]) -> torch.Tensor:
        model.zero_grad()
        with Bookkeeper(model) as bookkeeper:
            bookkeeper.clipped_sum(
                lambda: 100 * model(steps[records], own[records])[0].square().sum(dim=(1, 2)),
                torch.arange(len(records)),
                len(records),
                0.5,
            )
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    everyone = list(range(len(lengths)))
    whole = summed(everyone)
    for record in everyone:
        moved = whole - summed([other for other in everyone if other != record])
        assert float(moved.norm()) <= 0.5 * (1 + 1e-6)


@given(
    steps=st.integers(1, 40),
    widths=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    alike=st.sampled_from([1.0, 1e-2, 1e-4, 1e-6, 0.0]),
    scale=st.sampled_from([1e-12, 1.0, 1e6]),
    seed=seeds,
)
def test_norms_by_gram_matrices_are_never_too_small(
    steps: int, widths: tuple[int, int], alike: float, scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    g, a = (torch.randn(3, 1, width, generator=generator) for width in widths)
    g, a = (x + alike * torch.randn(3, steps, x.shape[2], generator=generator) for x in (g, a))
    g = g * torch.where(torch.rand(3, steps, 1, generator=generator) < 0.5, -scale, scale)
    exact = torch.einsum("nlo,nld->nod", g.double(), a.double()).flatten(1).square().sum(dim=1)
    bounds, loose = grams.squared_norms(grams.gram(g), grams.gram(a), sum(widths))
    assert (bounds.double() >= exact * (1 - 1e-6)).all()
    assert (loose | (bounds.double() <= 1.03 * exact)).all()


@given(units=st.lists(st.integers(0, 4), min_size=1, max_size=12), seed=seeds)
def test_rows_find_their_units_in_any_order(units: list[int], seed: int) -> None:
    x = torch.randn(len(units), 2, 3, generator=torch.Generator().manual_seed(seed))
    unit = torch.tensor(units)
    rows = Rows.of(unit, 5, torch.device("cpu"))
    expected = torch.stack([x[unit == u].sum(dim=0) for u in range(5)])
    torch.testing.assert_close(rows.summed(x), expected)
    torch.testing.assert_close(rows.folded(x, 1, 4).sum(dim=1), expected[1:4])
    assert torch.equal(rows.spread(torch.arange(5)), unit)

"""Cells: a case's states are its own, whoever else is in the batch, in whatever order, with any padding."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from common.models.cells import GRUD, ConvGRU, ConvLSTM, Stack
from common.private.recurrent import GRU

CELLS = {
    "conv_gru": lambda both: ConvGRU(2, 3, 2, bidirectional=both),
    "conv_lstm": lambda both: ConvLSTM(2, 3, bidirectional=both),
    "gru_d": lambda both: GRUD(2, 3),
    "stack": lambda both: Stack(GRU, 6, 3, 2, bidirectional=both, residual=True, layer_norm=True),
}
SHAPES = {"conv_gru": (2, 2, 3), "conv_lstm": (2, 2, 3)}


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(CELLS)),
    both=st.booleans(),
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5),
    padding=st.integers(0, 3),
    seed=st.integers(0, 2**16),
)
@torch.no_grad()
def test_a_case_s_states_are_its_own(
    name: str, both: bool, lengths: list[int], padding: int, seed: int
) -> None:
    torch.manual_seed(seed)
    cell: nn.Module = CELLS[name](both).double()
    steps = torch.zeros(len(lengths), max(lengths) + padding, *SHAPES.get(name, (6,)), dtype=torch.float64)
    for case, length in enumerate(lengths):
        steps[case, :length] = torch.rand_like(steps[case, :length])
    together = cell(steps, torch.tensor(lengths))
    order = torch.randperm(len(lengths))
    torch.testing.assert_close(cell(steps[order], torch.tensor(lengths)[order]), together[order])
    for case, length in enumerate(lengths):
        alone = cell(steps[case : case + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(together[case : case + 1, :length], alone)
        assert not together[case, length:].any()

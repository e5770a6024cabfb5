"""The identity trick: torch's kernels leave what the scans leave, so a GPU may use them."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from common.private import recurrent
from common.private.cudnn import Native
from common.private.scans import Cell, Course, GRUCell, LSTMCell, Packing, Recurrence, RNNCell, Weights
from common.private.tape import OuterProduct, recording

FEATURES, HIDDEN = 3, 2
LENGTHS = {"full": [5, 5, 5, 5], "unsorted": [2, 5, 1, 4]}
CELLS: dict[str, Cell] = {
    "gru": GRUCell(),
    "lstm": LSTMCell(),
    "tanh": RNNCell(relu=False),
    "relu": RNNCell(relu=True),
}


def tape_of(
    function: type[torch.autograd.Function], cell: Cell, order: str, reverse: bool
) -> tuple[torch.Tensor, ...]:
    """Outputs, previous and last states, and the gradients by input, both products and starting states."""
    draw = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=draw)

    records = [drawn(length, FEATURES) for length in LENGTHS[order]]
    x, packing = Packing.of(pack_sequence(records, enforce_sorted=False))
    course = Course(None if order == "full" else packing, reverse)
    rows = cell.gates * HIDDEN
    weights = Weights(drawn(rows, FEATURES), drawn(rows, HIDDEN), drawn(rows), drawn(rows))
    handles = [torch.zeros(4, 5, rows, dtype=torch.float64) for _ in range(2)]
    inputs = [x, *handles, *(drawn(4, HIDDEN) for _ in range(cell.kinds))]
    for tensor in inputs:
        tensor.requires_grad_()
    outputs, previous, *last = function.apply(cell, course, weights, *inputs)
    loss = (outputs * course.blanked(drawn(5, 4, HIDDEN))).sum() + sum(
        (v * drawn(4, HIDDEN)).sum() for v in last
    )
    return outputs, previous, *last, *torch.autograd.grad(loss, inputs)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("order", LENGTHS)
@pytest.mark.parametrize("reverse", [False, True])
def test_a_kernel_leaves_what_the_scan_leaves(cell: str, order: str, reverse: bool) -> None:
    ours = tape_of(Native, CELLS[cell], order, reverse)
    scanned = tape_of(Recurrence, CELLS[cell], order, reverse)
    for mine, reference in zip(ours, scanned, strict=True):
        torch.testing.assert_close(mine, reference, rtol=0, atol=1e-12)


def test_the_reset_gate_lies_between_a_grus_products() -> None:
    """Or else the trick would be tested on a case in which it does not matter."""
    *_, by_input, by_hidden, _ = tape_of(Native, CELLS["gru"], "full", False)
    assert torch.equal(by_input[..., : 2 * HIDDEN], by_hidden[..., : 2 * HIDDEN])
    ratio = by_hidden[..., 2 * HIDDEN :] / by_input[..., 2 * HIDDEN :]
    assert ((ratio > 0) & (ratio < 1)).all()


def test_a_kernel_draws_no_random_number() -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    tape_of(Native, CELLS["lstm"], "full", False)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("name", ["GRU", "LSTM", "RNN"])
def test_a_gpu_leaves_what_the_processor_leaves(name: str) -> None:
    found = []
    for device, bidirectional in product(("cpu", "cuda"), (False, True)):
        torch.manual_seed(0)
        layer = getattr(recurrent, name)(
            FEATURES, HIDDEN, 2, bidirectional=bidirectional, dtype=torch.float64
        )
        x = torch.randn(5, 4, FEATURES, dtype=torch.float64).to(device)
        with recording() as tape:
            outputs = layer.to(device)(x)[0]
        uses = [use for use in tape.uses if isinstance(use, OuterProduct)]
        handles = [use.output for use in uses if use.output is not None]
        gradients = torch.autograd.grad(outputs.square().sum(), handles)
        found.append([t.cpu() for t in (outputs.detach(), *(use.inputs for use in uses), *gradients)])
    for on_cpu, on_gpu in zip(found[:2], found[2:], strict=True):
        for reference, mine in zip(on_cpu, on_gpu, strict=True):
            torch.testing.assert_close(mine, reference, rtol=0, atol=1e-9)

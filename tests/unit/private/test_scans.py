"""Scans: the way through time, and cells at the edges of what numbers can say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from common.private.scans import Cell, Course, GRUCell, LSTMCell, Packing, Recurrence, RNNCell, Weights
from common.private.scans.tanh import tanh_of_half_

CELLS: dict[str, Cell] = {
    "gru": GRUCell(),
    "lstm": LSTMCell(),
    "tanh": RNNCell(relu=False),
    "relu": RNNCell(relu=True),
}
every_cell = pytest.mark.parametrize("cell", CELLS)
both_ways = pytest.mark.parametrize("reverse", [False, True])
all_lengths = st.lists(st.integers(1, 6), min_size=1, max_size=6)


def packed(lengths: list[int]) -> PackedSequence:
    """Record r holds the numbers 100 r + 1, 100 r + 2, ..."""
    records = [100.0 * r + torch.arange(1, n + 1)[:, None] for r, n in enumerate(lengths)]
    return pack_sequence(records, enforce_sorted=False)


@given(all_lengths)
def test_a_buffer_has_the_longest_row_first_and_packs_to_what_it_came_from(lengths: list[int]) -> None:
    sequence = packed(lengths)
    buffer, packing = Packing.of(sequence)
    assert packing.lengths.tolist() == sorted(lengths, reverse=True)
    again = packing.pack(buffer)
    assert torch.equal(again.data, sequence.data)
    assert torch.equal(again.batch_sizes, sequence.batch_sizes)
    assert torch.equal(packing.rows_of(packing.records_of(buffer)), buffer)


@given(all_lengths, st.booleans())
def test_records_come_back_in_their_own_order_with_zeros_behind(lengths: list[int], reverse: bool) -> None:
    buffer, packing = Packing.of(packed(lengths))
    records = Course(packing, reverse).records(buffer)
    for number, (record, length) in enumerate(zip(records, lengths, strict=True)):
        assert record[:length, 0].tolist() == [100 * number + step for step in range(1, length + 1)]
        assert not record[length:].any()


@given(all_lengths, st.booleans())
def test_each_row_is_met_as_often_as_it_is_long_and_in_order(lengths: list[int], reverse: bool) -> None:
    buffer, packing = Packing.of(packed(lengths))
    met: dict[int, list[float]] = {}
    for view in Course(packing, reverse).steps(buffer):
        for value in view[:, 0].tolist():
            met.setdefault(int(value) // 100, []).append(value % 100)
    for record, length in enumerate(lengths):
        steps = [float(step) for step in range(1, length + 1)]
        assert met[record] == (steps[::-1] if reverse else steps)


@given(all_lengths)
def test_turning_reverses_each_row_within_its_length_and_twice_is_once_too_many(lengths: list[int]) -> None:
    buffer, packing = Packing.of(packed(lengths))
    course = Course(packing, reverse=True)
    turned = course.turned(buffer)
    for row, length in enumerate(packing.lengths.tolist()):
        assert torch.equal(turned[:length, row], buffer[:length, row].flip(0))
        assert not turned[length:, row].any()
    assert torch.equal(course.turned(turned), buffer)
    assert Course(packing, reverse=False).turned(buffer) is buffer


@both_ways
@given(lengths=all_lengths)
def test_states_begin_and_end_where_each_row_does(reverse: bool, lengths: list[int]) -> None:
    """A scan that adds one a step, from r at row r, ends at r + length, whichever way it goes."""
    buffer, packing = Packing.of(packed(lengths))
    course = Course(packing, reverse)
    states = course.buffer(buffer, len(buffer) + 1, 1)
    states[course.start] = torch.arange(len(lengths), dtype=buffer.dtype)[:, None]
    befores, afters = course.steps(course.before(states)), course.steps(course.after(states))
    for before, after in zip(befores, afters, strict=True):
        torch.add(before, 1, out=after)
    begun = torch.arange(len(lengths))
    assert states[course.start][:, 0].tolist() == begun.tolist()
    assert states[course.end][:, 0].tolist() == (begun + packing.lengths).tolist()


def test_where_nothing_is_packed_nothing_is_copied() -> None:
    course, buffer = Course(None, reverse=False), torch.ones(3, 2, 1)
    assert course.blank(buffer) is buffer and course.blanked(buffer) is buffer
    assert course.records(buffer).data_ptr() == buffer.data_ptr()


def weights(cell: Cell, features: int, hidden: int, dtype: torch.dtype = torch.float64) -> Weights:
    draw = torch.Generator().manual_seed(0)
    rows = cell.gates * hidden
    shapes = ((rows, features), (rows, hidden), (rows,), (rows,))
    return Weights(*(torch.randn(shape, dtype=torch.float64, generator=draw).to(dtype) for shape in shapes))


def starts(
    cell: Cell, batch: int, hidden: int, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, ...]:
    return tuple(torch.zeros(batch, hidden, dtype=dtype) for _ in range(cell.kinds))


@every_cell
@both_ways
def test_gradients_are_those_of_differences(cell: str, reverse: bool) -> None:
    """By input, starting states and weights at once, along one direction of all of them."""
    kind, course, draw = CELLS[cell], Course(None, reverse), torch.Generator().manual_seed(1)
    own, x = weights(kind, 2, 2), torch.randn(3, 4, 2, dtype=torch.float64, generator=draw)
    point = [x, *starts(kind, 4, 2), own.input, own.hidden, own.input_bias, own.hidden_bias]
    way = [torch.randn(part.shape, dtype=torch.float64, generator=draw) for part in point]
    handles = [torch.zeros(4, 3, kind.gates * 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]

    def scanned(parts: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        steps, *start = parts[:-4]
        outputs, previous, *last = Recurrence.apply(
            kind, course, Weights(*parts[-4:]), steps, *handles, *start
        )
        return outputs.sin().sum() + sum(state.cos().sum() for state in last), previous

    differences = [
        scanned([p + sign * 1e-6 * w for p, w in zip(point, way, strict=True)])[0] for sign in (1, -1)
    ]
    inputs = [part.clone().requires_grad_() for part in point[:-4]]
    loss, previous = scanned([*inputs, *point[-4:]])
    *found, by_input, by_hidden = torch.autograd.grad(loss, [*inputs, *handles])
    found.append(torch.einsum("btg,tbd->gd", by_input, x))
    found.append(torch.einsum("btg,tbh->gh", by_hidden, previous))
    found += [by_input.sum(dim=(0, 1)), by_hidden.sum(dim=(0, 1))]
    along = sum((gradient * w).sum() for gradient, w in zip(found, way, strict=True))
    torch.testing.assert_close(along, (differences[0] - differences[1]) / 2e-6, rtol=1e-6, atol=1e-6)


@every_cell
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_saturated_gates_stay_finite_and_equal_torchs(cell: str, dtype: torch.dtype) -> None:
    kind = CELLS[cell]
    own = weights(kind, 2, 3, dtype)
    modules = {"gru": nn.GRU, "lstm": nn.LSTM}
    theirs = modules[cell](2, 3) if cell in modules else nn.RNN(2, 3, nonlinearity=cell)
    theirs.to(dtype)
    with torch.no_grad():
        values = (own.input, own.hidden, own.input_bias, own.hidden_bias)
        for parameter, value in zip(theirs.parameters(), values, strict=True):
            parameter.copy_(value)
    x = (1e4 * torch.tensor([-1.0, 1.0, 0.0], dtype=dtype)).repeat(4, 2)[:, :, None].expand(4, 6, 2)
    handles = [torch.zeros(6, 4, kind.gates * 3, dtype=dtype, requires_grad=True) for _ in range(2)]
    outputs = Recurrence.apply(
        kind, Course(None, False), own, x.contiguous(), *handles, *starts(kind, 6, 3, dtype)
    )[0]
    torch.testing.assert_close(outputs, theirs(x)[0], rtol=1e-6, atol=1e-6)
    for gradient in torch.autograd.grad(outputs.sum(), handles):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tanh_by_way_of_the_sigmoid_is_exact_to_the_last_place_of_one(dtype: torch.dtype) -> None:
    x = torch.cat([torch.linspace(-20, 20, 4001, dtype=dtype), torch.tensor([-1e30, 1e30], dtype=dtype)])
    torch.testing.assert_close(tanh_of_half_(2 * x), x.tanh(), rtol=0, atol=2 * torch.finfo(dtype).eps)


@every_cell
@both_ways
def test_spans_of_a_few_steps_come_to_what_one_comes_to(
    cell: str, reverse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each span makes its factors by itself, and uses the place of what the one before has done with."""
    kind, draw = CELLS[cell], torch.Generator().manual_seed(2)
    x = torch.randn(7, 3, 2, dtype=torch.float64, generator=draw)
    found = []
    for values in (1, 3 * 2 * 2, 10**6):
        monkeypatch.setattr("common.private.scans.course.SPAN_VALUES", values)
        shape = (3, 7, kind.gates * 2)
        handles = [torch.zeros(shape, dtype=torch.float64, requires_grad=True) for _ in range(2)]
        course, own = Course(None, reverse), weights(kind, 2, 2)
        outputs = Recurrence.apply(kind, course, own, x, *handles, *starts(kind, 3, 2))[0]
        found.append(torch.autograd.grad(outputs.square().sum(), handles))
    for gradients in found[1:]:
        for mine, reference in zip(gradients, found[0], strict=True):
            torch.testing.assert_close(mine, reference, rtol=0, atol=1e-14)

"""Recurrent layers: torch's own in plain training, and with a tape the same but for what is put on it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from common.errors import LayerNotPrivate
from common.private import recurrent
from common.private.tape import OuterProduct, folded, recording

BATCH, STEPS, FEATURES, HIDDEN = 4, 5, 3, 2
EXACT = 1e-12
ORDERS = {"full": None, "sorted": [5, 4, 4, 2], "unsorted": [2, 5, 1, 4]}
CELLS: dict[str, tuple[str, dict[str, Any]]] = {
    "gru": ("GRU", {}),
    "lstm": ("LSTM", {}),
    "tanh": ("RNN", {"nonlinearity": "tanh"}),
    "relu": ("RNN", {"nonlinearity": "relu"}),
}
every_cell = pytest.mark.parametrize("cell", CELLS)


@dataclass
class Pass:
    """Results of one forward and backward pass: outputs, last states, gradients by name."""

    outputs: torch.Tensor
    last: tuple[torch.Tensor, ...]
    gradients: dict[str, torch.Tensor]
    uses: list[OuterProduct]

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield "outputs", self.outputs
        yield from ((f"last {number}", state) for number, state in enumerate(self.last))
        yield from sorted(self.gradients.items())


def pair(cell: str, **options: Any) -> tuple[nn.RNNBase, nn.RNNBase]:
    """Torch's module and ours with the same weights, in float64."""
    name, own = CELLS[cell]
    modules = []
    for package in (nn, recurrent):
        torch.manual_seed(1)
        module = getattr(package, name)
        modules.append(module(FEATURES, HIDDEN, dtype=torch.float64, **{**own, **options}))
    return modules[0], modules[1]


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def steps_for(layer: nn.RNNBase, seed: int = 0) -> torch.Tensor:
    first = (BATCH, STEPS) if layer.batch_first else (STEPS, BATCH)
    return draw(*first, FEATURES, seed=seed).requires_grad_()


def starts_for(layer: nn.RNNBase) -> tuple[torch.Tensor, ...]:
    scans = layer.num_layers * (2 if layer.bidirectional else 1)
    kinds = 2 if isinstance(layer, nn.LSTM) else 1
    return tuple(draw(scans, BATCH, HIDDEN, seed=7 + kind).requires_grad_() for kind in range(kinds))


def run(layer: nn.RNNBase, order: str, with_start: bool, private: bool) -> Pass:
    """A pass under a loss that uses every output and every last state."""
    x, start = steps_for(layer), starts_for(layer)
    steps: torch.Tensor | PackedSequence = x
    lengths = ORDERS[order]
    if lengths is not None:
        sort = order == "unsorted"
        steps = pack_padded_sequence(x, lengths, batch_first=layer.batch_first, enforce_sorted=not sort)
    hx = None if not with_start else start if isinstance(layer, nn.LSTM) else start[0]
    with recording() as tape:
        outputs, last = layer(steps, hx) if private else plainly(layer, steps, hx)
    values = outputs.data if isinstance(outputs, PackedSequence) else outputs
    states = last if isinstance(last, tuple) else (last,)
    loss = sum((v * draw(*v.shape, seed=20 + i)).sum() for i, v in enumerate((values, *states)))
    by = {"x": x, **({f"start {i}": s for i, s in enumerate(start)} if with_start else {})}
    if not private:
        by |= dict(layer.named_parameters())
        assert not tape.uses
        return Pass(
            values, states, dict(zip(by, torch.autograd.grad(loss, list(by.values())), strict=True)), []
        )
    uses = [use for use in tape.uses if isinstance(use, OuterProduct)]
    handles = [use.output for use in uses if use.output is not None]
    assert len(handles) == len(tape.uses)
    found = torch.autograd.grad(loss, [*by.values(), *handles])
    for use, gradient in zip(uses, found[len(by) :], strict=True):
        use.gradient = gradient
    summed = {name: total(uses, parameter) for name, parameter in layer.named_parameters()}
    return Pass(values, states, {**dict(zip(by, found, strict=False)), **summed}, uses)


def plainly(layer: nn.RNNBase, *arguments: Any) -> Any:
    return layer(*arguments)  # torch's own module puts nothing on a tape


def per_record(uses: list[OuterProduct], parameter: nn.Parameter) -> torch.Tensor:
    """(B, ...) each record's gradient, from what the tape holds."""
    found = []
    for use in uses:
        assert use.gradient is not None
        if use.weight is parameter:
            found.append(torch.einsum("rlo,rld->rod", use.gradient, use.inputs))
        if use.bias is parameter:
            found.append(use.gradient.sum(dim=1))
    assert len(found) == 1
    return found[0]


def total(uses: list[OuterProduct], parameter: nn.Parameter) -> torch.Tensor:
    return per_record(uses, parameter).sum(dim=0)


def assert_same(ours: Pass, theirs: Pass, tolerance: float = EXACT) -> None:
    for (name, mine), (other, reference) in zip(ours.tensors(), theirs.tensors(), strict=True):
        assert name == other
        torch.testing.assert_close(mine, reference, rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


@every_cell
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("with_start", [False, True])
def test_a_pass_with_a_tape_is_torchs_pass(
    cell: str, layers: int, bidirectional: bool, order: str, with_start: bool
) -> None:
    """With both settings of ``bias`` and ``batch_first``: 576 configurations."""
    for bias, batch_first in product((True, False), repeat=2):
        options = {"num_layers": layers, "bidirectional": bidirectional, "bias": bias}
        theirs, ours = pair(cell, **options, batch_first=batch_first)
        assert_same(run(ours, order, with_start, True), run(theirs, order, with_start, False))


@every_cell
@pytest.mark.parametrize("order", ORDERS)
def test_two_uses_a_layer_and_direction_hold_a_row_a_record(cell: str, order: str) -> None:
    ours = pair(cell, num_layers=2, bidirectional=True, batch_first=True)[1]
    uses = run(ours, order, True, True).uses
    assert [use.weight for use in uses] == [p for n, p in ours.named_parameters() if n.startswith("weight")]
    assert [use.bias for use in uses] == [p for n, p in ours.named_parameters() if n.startswith("bias")]
    for use in uses:
        assert use.gradient is not None and use.owner is None
        assert use.inputs.shape == (BATCH, STEPS, use.weight.shape[1])
        assert use.gradient.shape == (BATCH, STEPS, use.weight.shape[0])
        assert use.inputs.stride(2) == use.gradient.stride(2) == 1
        assert not use.inputs.requires_grad
        for record, length in enumerate(ORDERS[order] or []):
            assert not use.inputs[record, length:].any()
            assert not use.gradient[record, length:].any()


@every_cell
def test_what_an_unpacked_batch_leaves_lies_time_first_in_memory(cell: str) -> None:
    uses = run(pair(cell, batch_first=True)[1], "full", False, True).uses
    for use in uses:
        assert use.gradient is not None
        assert use.inputs.transpose(0, 1).is_contiguous()
        assert use.gradient.transpose(0, 1).is_contiguous()


@pytest.mark.parametrize("cell", ["lstm", "tanh", "relu"])
def test_where_both_products_are_added_their_gradients_are_one_tensor(cell: str) -> None:
    first, second = run(pair(cell)[1], "full", False, True).uses
    assert first.gradient is not None and second.gradient is not None
    assert first.gradient.data_ptr() == second.gradient.data_ptr()


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, STEPS), min_size=1, max_size=6),
    cell=st.sampled_from(sorted(CELLS)),
    bidirectional=st.booleans(),
    layers=st.integers(1, 2),
)
def test_each_record_has_the_gradient_it_has_alone(
    lengths: list[int], cell: str, bidirectional: bool, layers: int
) -> None:
    """However the records of a packed batch come: in a wrong order, one is clipped by another's norm."""
    theirs, ours = pair(cell, bidirectional=bidirectional, num_layers=layers, batch_first=True)
    x = draw(len(lengths), max(lengths), FEATURES, seed=3)
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    with recording() as tape:
        outputs = ours(packed)[0]
    uses = [use for use in tape.uses if isinstance(use, OuterProduct)]
    handles = [use.output for use in uses if use.output is not None]
    for use, found in zip(uses, torch.autograd.grad(outputs.data.square().sum(), handles), strict=True):
        use.gradient = found
    for record, length in enumerate(lengths):
        theirs.zero_grad()
        theirs(x[record : record + 1, :length])[0].square().sum().backward()
        for alone, parameter in zip(theirs.parameters(), ours.parameters(), strict=True):
            assert alone.grad is not None
            mine = per_record(uses, parameter)[record]
            torch.testing.assert_close(mine, alone.grad, rtol=0, atol=EXACT)


@every_cell
@pytest.mark.parametrize("layers,bidirectional", [(1, False), (3, True)])
def test_weights_move_freely_to_torch_and_back(cell: str, layers: int, bidirectional: bool) -> None:
    theirs, ours = pair(cell, num_layers=layers, bidirectional=bidirectional)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():  # drawn from the same seed
        assert torch.equal(ours.state_dict()[name], value)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_()
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    assert repr(ours) == repr(theirs)


@every_cell
@pytest.mark.parametrize("order", ORDERS)
def test_without_a_tape_the_computation_is_torchs_bit_by_bit(cell: str, order: str) -> None:
    theirs, ours = pair(cell, num_layers=2, bidirectional=True)
    lengths = ORDERS[order]
    x = draw(STEPS, BATCH, FEATURES)
    steps = x if lengths is None else pack_padded_sequence(x, lengths, enforce_sorted=False)
    (mine, my_last), (reference, last) = ours(steps), theirs(steps)
    assert torch.equal(
        *(values.data if isinstance(values, PackedSequence) else values for values in (mine, reference))
    )
    kept = (my_last, last) if isinstance(last, tuple) else ((my_last,), (last,))
    assert all(torch.equal(a, b) for a, b in zip(*kept, strict=True))


@every_cell
def test_dropout_draws_torchs_masks_between_the_layers(cell: str) -> None:
    theirs, ours = pair(cell, num_layers=3, dropout=0.4, batch_first=True)
    x = steps_for(ours)
    torch.manual_seed(5)
    reference = theirs(x)[0]
    torch.manual_seed(5)
    with recording():
        mine = ours(x)[0]
    torch.testing.assert_close(mine, reference, rtol=0, atol=EXACT)
    theirs.eval()
    assert not torch.allclose(mine, theirs(x)[0])


@every_cell
@pytest.mark.parametrize("order", ORDERS)
def test_dropout_spares_the_last_layer_and_evaluation(cell: str, order: str) -> None:
    """With p = 1 nothing is left to chance: every layer but the first works on zeros."""
    theirs, ours = pair(cell, num_layers=2, dropout=1.0, bidirectional=True)
    for training in (True, False):
        theirs.train(training)
        ours.train(training)
        assert_same(run(ours, order, True, True), run(theirs, order, True, False))


def test_a_tape_records_only_inside_its_block() -> None:
    ours = pair("gru")[1]
    with recording() as tape:
        pass
    ours(steps_for(ours))
    assert not tape.uses


def test_rows_in_a_fold_belong_to_its_records() -> None:
    ours = pair("gru", batch_first=True)[1]
    owner = torch.tensor([0, 0, 1, 1])
    with recording() as tape, folded(owner):
        ours(steps_for(ours))
    assert all(use.owner is owner for use in tape.uses)


@every_cell
def test_float32_stays_within_its_rounding(cell: str) -> None:
    theirs, ours = (module.float() for module in pair(cell, num_layers=2, batch_first=True))
    x = 30 * torch.randn(BATCH, STEPS, FEATURES, generator=torch.Generator().manual_seed(2))
    with recording():
        mine = ours(x)[0]
    torch.testing.assert_close(mine, theirs(x)[0], rtol=2e-6, atol=2e-6)


@every_cell
def test_autocast_leaves_float32_on_the_tape(cell: str) -> None:
    ours = pair(cell, batch_first=True)[1].float()
    x = steps_for(ours).detach().float()
    with recording() as plain:
        reference = ours(x)[0]
    with torch.autocast("cpu", torch.bfloat16), recording() as tape:
        mine = ours(x.bfloat16())[0]
        found = torch.autograd.grad(mine.float().sum(), [u.output for u in tape.uses if u.output is not None])
    assert len(tape.uses) == len(plain.uses) == 2
    assert all(gradient.dtype == torch.float32 for gradient in found)
    torch.testing.assert_close(mine.float(), reference, rtol=0.05, atol=0.05)


@every_cell
@pytest.mark.parametrize("again", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_copy_is_a_layer_of_its_own(cell: str, again: Any) -> None:
    ours = pair(cell, num_layers=2)[1]
    copied = again(ours)
    assert type(copied) is type(ours)
    x = steps_for(ours)
    with recording() as tape:
        assert torch.equal(copied(x)[0], ours(x)[0])
    assert {id(use.weight) for use in tape.uses[:4] if isinstance(use, OuterProduct)} <= {
        id(parameter) for parameter in copied.parameters()
    }
    with torch.no_grad():
        copied.weight_hh_l0.add_(1)
        assert not torch.equal(copied(x)[0], ours(x)[0])


def test_a_second_pass_back_is_refused() -> None:
    """It would read what the first has overwritten."""
    ours = pair("gru")[1]
    with recording() as tape:
        loss = ours(steps_for(ours))[0].sum()
    handles = [use.output for use in tape.uses if use.output is not None]
    torch.autograd.grad(loss, handles, retain_graph=True)
    with pytest.raises(RuntimeError, match="inplace"):
        torch.autograd.grad(loss, handles)


def test_an_empty_batch_passes() -> None:
    ours = pair("lstm", batch_first=True)[1]
    with recording() as tape:
        outputs = ours(draw(0, STEPS, FEATURES))[0]
    assert outputs.shape == (0, STEPS, HIDDEN)
    assert [use.inputs.shape[0] for use in tape.uses if isinstance(use, OuterProduct)] == [0, 0]


def test_a_projected_lstm_is_refused_by_name() -> None:
    with pytest.raises(LayerNotPrivate, match="proj_size=1"):
        recurrent.LSTM(FEATURES, HIDDEN, proj_size=1)


def test_a_single_sequence_is_refused_while_a_tape_records() -> None:
    ours = pair("gru")[1]
    x = draw(STEPS, FEATURES)
    assert ours(x)[0].shape == (STEPS, HIDDEN)
    with recording(), pytest.raises(ValueError, match="batch of sequences"):
        ours(x)

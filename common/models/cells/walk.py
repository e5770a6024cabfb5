"""The way through the time of packed sequences, for cells that are not torch's own.

Cases are sorted by falling length, so at every step those that have it are the first ones: ``batch_sizes`` of
a ``PackedSequence``. Forward, cases leave at their end; backward, they enter there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from common.private.tape import Use, current_tape

States = tuple[torch.Tensor, ...]
AsUse = Callable[[nn.Parameter, nn.Parameter | None, torch.Tensor, torch.Tensor], Use]
Operation = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]


def records(packed: PackedSequence) -> torch.Tensor:
    """(N,) int64 on the CPU, the case of each row of the packed data; (0,) where no tape asks for them.

    A GPU would have to be waited for.
    """
    if current_tape() is None:
        return packed.batch_sizes[:0]
    order = packed.sorted_indices
    assert order is not None  # noqa: S101  packed without enforce_sorted
    order = order.cpu()
    return torch.cat([order[:size] for size in packed.batch_sizes.tolist()])


def repacked(data: torch.Tensor, packed: PackedSequence) -> PackedSequence:
    """Other rows, packed in the same order."""
    return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)


def walk(
    step: Callable[[int, States], States], sizes: Sequence[int], start: States, *, reverse: bool
) -> torch.Tensor:
    """(N, ...) the first kind of state after each step, packed in the order of time.

    Args:
        step: From the number of a step and the states before it to those after.
        sizes: Cases at each step, falling.
        start: (B, ...) of each kind, the states of each case before its first step on the way.
        reverse: Begin at the last step.
    """
    after: list[torch.Tensor] = []
    states: States = tuple(state[:0] for state in start) if reverse else start
    numbers = range(len(sizes))
    for number in reversed(numbers) if reverse else numbers:
        before = tuple(_of(sizes[number], *pair) for pair in zip(states, start, strict=True))
        states = step(number, before)
        after.append(states[0])
    return torch.cat(after[::-1] if reverse else after)


def _of(count: int, state: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """The states of the first ``count`` cases; of those who enter here, the starting ones."""
    if count == len(state):
        return state
    if count < len(state):
        return state[:count]
    return torch.cat([state, start[len(state) : count]])


class StateProducts:
    """The products of one weight with a state, step after step.

    While a tape records, the weights stay out of the graph and all products' gradients leave as those of one
    *handle*, an input without memory that is added to them: one use for the tape, and not one a step.

    Args:
        weight: Multiplied with the state.
        bias: Added, if there is one.
        operation: From state, weight and bias to the product.
        like: (N, ...) of the shape of all products, packed.
        sizes: Cases at each step.
    """

    def __init__(
        self,
        weight: nn.Parameter,
        bias: nn.Parameter | None,
        operation: Operation,
        like: torch.Tensor,
        sizes: Sequence[int],
    ) -> None:
        self._operation = operation
        self._parameters = weight, bias
        self._weight: torch.Tensor = weight
        self._bias: torch.Tensor | None = bias
        self._seen: dict[int, torch.Tensor] = {}
        self._handle: torch.Tensor | None = None
        if current_tape() is not None:
            self._weight, self._bias = weight.detach(), None if bias is None else bias.detach()
            self._handle = like.new_zeros(()).expand(like.shape).requires_grad_()
            self._parts = torch.split(self._handle, list(sizes))

    def __call__(self, number: int, state: torch.Tensor) -> torch.Tensor:
        """The product at step ``number``."""
        product = self._operation(state, self._weight, self._bias)
        if self._handle is None:
            return product
        self._seen[number] = state.detach()
        return torch.add(product, self._parts[number])

    def record(self, owner: torch.Tensor, use: AsUse) -> None:
        """Put all products on the tape as one use, if one records.

        Args:
            owner: (N,) int64, the case of each row.
            use: From weight, bias, states (N, ...) and the handle to it.
        """
        tape = current_tape()
        if tape is None or self._handle is None:
            return
        states = torch.cat([self._seen[number] for number in sorted(self._seen)])
        made = use(*self._parameters, states, self._handle)
        made.owner = owner
        tape.add(made)

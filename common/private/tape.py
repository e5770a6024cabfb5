"""What one forward pass leaves behind for private gradients: every use of a weight, with what went in.

While a tape is recording, layers that know how put their uses on it; after one backward pass to the uses'
outputs, the gradient of each unit (a patient, or a single case) is a small computation on each use.

Invariant: rows of a use belong to records (cases of the batch) by ``owner``; without one, row r is record r.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import nn


class Use(Protocol):
    """One use of some parameters in a forward pass.

    Attributes:
        output: In the graph; the engine asks for the loss's gradient by it. None where the layer's own
            backward pass fills ``gradient``.
        gradient: The loss's gradient by ``output``, once the backward pass is done.
        owner: (R,) int64, record of each row; None where row r is record r.
    """

    output: torch.Tensor | None
    gradient: torch.Tensor | None
    owner: torch.Tensor | None

    @property
    def parameters(self) -> tuple[nn.Parameter, ...]:
        """Those used here."""


@dataclass(slots=True, eq=False)
class OuterProduct:
    """A use whose gradient by ``weight`` is, for row r, ``sum_l gradient[r, l] inputs[r, l]^T``.

    Linear layers, both products of a recurrent layer, and convolutions over unfolded inputs are of this kind.

    Attributes:
        weight: (O, D), or anything that flattens to it.
        bias: (O,), whose gradient for row r is ``sum_l gradient[r, l]``; or None.
        inputs: (R, L, D) what was multiplied; any strides, zeros where there is padding.
        output: (R, L, O) or None; see :class:`Use`.
        gradient: (R, L, O); zeros where there is padding.
        owner: See :class:`Use`.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    inputs: torch.Tensor
    output: torch.Tensor | None
    gradient: torch.Tensor | None = None
    owner: torch.Tensor | None = None

    @property
    def parameters(self) -> tuple[nn.Parameter, ...]:
        """Weight, and bias if there is one."""
        return (self.weight,) if self.bias is None else (self.weight, self.bias)


@dataclass(slots=True, eq=False)
class Tape:
    """The uses of one forward pass, in order."""

    uses: list[Use] = field(default_factory=list)
    owner: torch.Tensor | None = None

    def add(self, use: Use) -> None:
        """Put a use on the tape, its rows being those of the fold that is open."""
        if use.owner is None:
            use.owner = self.owner
        self.uses.append(use)


_current: ContextVar[Tape | None] = ContextVar("consilium-tape", default=None)


def current_tape() -> Tape | None:
    """The tape that records now, or None in plain training and evaluation."""
    return _current.get()


@contextmanager
def recording() -> Iterator[Tape]:
    """A new tape, which records the forward passes of the block."""
    token = _current.set(Tape())
    try:
        tape = _current.get()
        assert tape is not None  # noqa: S101  set above
        yield tape
    finally:
        _current.reset(token)


@contextmanager
def folded(owner: torch.Tensor) -> Iterator[None]:
    """In the block, layers work on rows that are not one a record: frames folded into the batch.

    Args:
        owner: (R,) int64, record of each row.
    """
    tape = current_tape()
    if tape is None:
        yield
        return
    before, tape.owner = tape.owner, owner
    try:
        yield
    finally:
        tape.owner = before

"""What the gradient of a unit has to do with one parameter: its norm, and its place in the clipped sum.

Each part stands for the gradients of all U units by one parameter, few of which ever are in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import nn

KEEP_BYTES = 2**26
"""Gradients of single units that are kept from the norms to the sum, for all parameters together."""

STREAM_BYTES = {"cpu": 2**21}
"""Gradients of single units that are made at one time: on a CPU what its second-level cache holds."""


class Part(Protocol):
    """The gradients of all units by one parameter."""

    @property
    def parameter(self) -> nn.Parameter:
        """By which the gradients are."""

    def squared_norms(self) -> torch.Tensor:
        """(U,) squared L2 norm of each unit's gradient; never less than it is."""

    def gradients(self, low: int, high: int) -> torch.Tensor:
        """(high - low, P), the gradients of units ``low`` up to ``high``.

        Flattened in one order or another, but the same for all parts by one parameter.
        """

    def weighted_sum(self, factors: torch.Tensor) -> torch.Tensor:
        """The sum of the gradients, each times its unit's factor, in the parameter's shape.

        Args:
            factors: (U,).
        """


@dataclass(slots=True, eq=False)
class Kept:
    """Gradients so small that those of all units are at hand: those of biases and of scales.

    Attributes:
        parameter: Of P values.
        values: (U, P).
    """

    parameter: nn.Parameter
    values: torch.Tensor

    def squared_norms(self) -> torch.Tensor:
        """(U,); see :class:`Part`."""
        return torch.linalg.vector_norm(self.values, dim=1).square()

    def gradients(self, low: int, high: int) -> torch.Tensor:
        """(high - low, P); see :class:`Part`."""
        return self.values[low:high]

    def weighted_sum(self, factors: torch.Tensor) -> torch.Tensor:
        """See :class:`Part`."""
        return (factors @ self.values).view_as(self.parameter)


@dataclass(slots=True, eq=False)
class Repeated:
    """A parameter that was used more than once: a unit's gradient is the sum over the uses.

    Attributes:
        uses: One part for each use, all of the same parameter.
        count: U.
    """

    uses: Sequence[Part]
    count: int

    @property
    def parameter(self) -> nn.Parameter:
        """The one that all the uses share."""
        return self.uses[0].parameter

    def squared_norms(self) -> torch.Tensor:
        """(U,); see :class:`Part`."""
        size = self.parameter.numel() * self.parameter.element_size()
        norms = [
            torch.linalg.vector_norm(self.gradients(low, high), dim=1)
            for low, high in spans(self.count, size, self.parameter.device)
        ]
        return torch.cat(norms).square()

    def gradients(self, low: int, high: int) -> torch.Tensor:
        """(high - low, P); see :class:`Part`."""
        return torch.stack([part.gradients(low, high) for part in self.uses]).sum(dim=0)

    def weighted_sum(self, factors: torch.Tensor) -> torch.Tensor:
        """See :class:`Part`."""
        return torch.stack([part.weighted_sum(factors) for part in self.uses]).sum(dim=0)


@dataclass(slots=True, eq=False)
class Scratch:
    """What the parts of one backward pass share.

    Attributes:
        left_bytes: Of :data:`KEEP_BYTES`.
        views: How many gradients are the same view of the same memory: both of an LSTM's products' are.
        made: What :meth:`once` has made, by the memory that it was made from.
        sources: These tensors, so that their memory stays theirs.
    """

    left_bytes: int = KEEP_BYTES
    views: Counter[Hashable] = field(default_factory=Counter)
    made: dict[Hashable, torch.Tensor] = field(default_factory=dict)
    sources: list[torch.Tensor] = field(default_factory=list)

    def keeps(self, size_bytes: int) -> bool:
        """Whether as much can still be kept, which is then taken."""
        if size_bytes > self.left_bytes:
            return False
        self.left_bytes -= size_bytes
        return True

    def announce(self, gradient: torch.Tensor) -> None:
        """Count a gradient of which parts will be made."""
        self.views[_view(gradient)] += 1

    def sharers(self, gradient: torch.Tensor) -> int:
        """How many gradients were announced that are the same as this one."""
        return max(1, self.views[_view(gradient)])

    def once(self, make: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """``make(x)``, made once for all that are the same view of the same memory.

        Args:
            make: A function of a module, not one made in place.
            x: What it is applied to; nobody writes into it any more.
        """
        key = (make, _view(x))
        if key not in self.made:
            self.made[key] = make(x)
            self.sources.append(x)
        return self.made[key]


def _view(x: torch.Tensor) -> Hashable:
    return x.data_ptr(), x.dtype, x.shape, x.stride()


def spans(count: int, unit_bytes: int, device: torch.device) -> Iterator[tuple[int, int]]:
    """Ranges of units, whose gradients of ``unit_bytes`` each are made at one time."""
    step = max(1, STREAM_BYTES.get(device.type, KEEP_BYTES) // max(1, unit_bytes))
    for low in range(0, count, step):
        yield low, min(count, low + step)

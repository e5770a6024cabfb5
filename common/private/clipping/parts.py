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
"""Most gradients of single units that are kept from the norms to the sum, for all parameters together."""

KEEP_AT_LEAST_BYTES = 2**22
"""So little that it is not worth saving."""

STREAM_BYTES = {"cpu": 3 * 2**19}
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

    def silence(self, kept: torch.Tensor) -> None:
        """Put zeros for the units that are not ``kept``; zero times infinity would be no number.

        Args:
            kept: (U,) bool.
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
        return squares(self.values)

    def gradients(self, low: int, high: int) -> torch.Tensor:
        """(high - low, P); see :class:`Part`."""
        return self.values[low:high]

    def weighted_sum(self, factors: torch.Tensor) -> torch.Tensor:
        """See :class:`Part`."""
        return torch.mv(self.values.t(), factors).view(self.parameter.shape)

    def silence(self, kept: torch.Tensor) -> None:
        """See :class:`Part`."""
        self.values = silenced(self.values, kept)


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
        ranges = spans(self.count, size, self.parameter.device)
        return torch.cat([squares(self.gradients(low, high)) for low, high in ranges])

    def gradients(self, low: int, high: int) -> torch.Tensor:
        """(high - low, P); see :class:`Part`."""
        return torch.stack([part.gradients(low, high) for part in self.uses]).sum(dim=0)

    def weighted_sum(self, factors: torch.Tensor) -> torch.Tensor:
        """See :class:`Part`."""
        return torch.stack([part.weighted_sum(factors) for part in self.uses]).sum(dim=0)

    def silence(self, kept: torch.Tensor) -> None:
        """See :class:`Part`."""
        for part in self.uses:
            part.silence(kept)


@dataclass(slots=True, eq=False)
class Scratch:
    """What the parts of one backward pass share.

    Attributes:
        left_bytes: How much of units' gradients may still be kept.
        views: How many gradients are the same view of the same memory: both of an LSTM's products' are.
        made: What :meth:`once` has made of them.
        sources: They themselves, so that their memory stays theirs.
    """

    left_bytes: int
    views: Counter[Hashable]
    made: dict[Hashable, torch.Tensor] = field(default_factory=dict)
    sources: list[torch.Tensor] = field(default_factory=list)

    @staticmethod
    def of(gradients: Sequence[torch.Tensor]) -> Scratch:
        """For uses with these gradients; what is kept of units takes half as much again as they do, at most.

        So the sums take little more memory than the backward pass before them did (measured).
        """
        size = sum(gradient.nbytes for gradient in gradients)
        left = min(KEEP_BYTES, max(KEEP_AT_LEAST_BYTES, 3 * size // 2))
        return Scratch(left, Counter(map(_view, gradients)))

    def keeps(self, size_bytes: int) -> bool:
        """Whether as much can still be kept, which is then taken."""
        if size_bytes > self.left_bytes:
            return False
        self.left_bytes -= size_bytes
        return True

    def sharers(self, gradient: torch.Tensor) -> int:
        """How many uses have this gradient."""
        return max(1, self.views[_view(gradient)])

    def has(self, make: Callable[[torch.Tensor], torch.Tensor], gradient: torch.Tensor) -> bool:
        """Whether :meth:`once` would have nothing to make."""
        return (make, _view(gradient)) in self.made

    def once(self, make: Callable[[torch.Tensor], torch.Tensor], gradient: torch.Tensor) -> torch.Tensor:
        """``make(gradient)``, made once for all uses that have this gradient.

        Args:
            make: A function of a module, not one made in place.
            gradient: What it is applied to; nobody writes into it any more.
        """
        if self.sharers(gradient) == 1:
            return make(gradient)
        key = (make, _view(gradient))
        if key not in self.made:
            self.made[key] = make(gradient)
            self.sources.append(gradient)
        return self.made[key]


def _view(x: torch.Tensor) -> Hashable:
    return x.data_ptr(), x.dtype, x.shape, x.stride()


def squares(x: torch.Tensor) -> torch.Tensor:
    """(N, P) to (N,), the squared L2 norm of each row, or more by as much as may have been lost to underflow.

    A norm that came out as 0 would let through unclipped what is small but not nothing.
    """
    norms: torch.Tensor = torch.linalg.vector_norm(x, dim=1)
    return norms.square() + 2 * x.shape[1] * torch.finfo(x.dtype).tiny


def silenced(x: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """(N, ...) with zeros in the rows that are not ``kept`` (N,)."""
    return x.where(kept.view(-1, *[1] * (x.dim() - 1)), 0)


def spans(count: int, unit_bytes: int, device: torch.device) -> Iterator[tuple[int, int]]:
    """Ranges of units, whose gradients of ``unit_bytes`` each are made at one time."""
    step = max(1, STREAM_BYTES.get(device.type, KEEP_BYTES) // max(1, unit_bytes))
    for low in range(0, count, step):
        yield low, min(count, low + step)

"""Recurrent cells over feature maps: every product of torch's GRU and LSTM becomes a convolution.

ConvGRU (Ballas et al. 2016) and ConvLSTM (Shi et al. 2015) in the form of torch's own cells, so that on a map
of one pixel, with a kernel of 1, they *are* ``nn.GRUCell`` and ``nn.LSTMCell``: each convolution has a bias,
the GRU's reset gate acts on what the hidden convolution gives, and the LSTM's gates do not look at the cell
state (Shi's peepholes). With ``*`` for a convolution, ``.`` for a product by pixel and s for the sigmoid:

    GRU     r = s(W_r * x + b_r + U_r * h + c_r)            LSTM    i = s(W_i * x + b_i + U_i * h + c_i)
            z = s(W_z * x + b_z + U_z * h + c_z)                    f, o = the same with their own weights
            n = tanh(W_n * x + b_n + r . (U_n * h + c_n))           g = tanh(W_g * x + b_g + U_g * h + c_g)
            h' = (1 - z) . n + z . h                                c' = f . c + i . g,  h' = o . tanh(c')

Invariants: what comes out for a case does not depend on the padding behind it, nor on its batch; padding is
never convolved. Weights are called ``input_l0.weight`` (W of all gates, in torch's order: r z n or i f g o),
``input_l0.bias``, ``hidden_l0.weight``, ``hidden_l0.bias``, with ``_reverse`` behind for the other direction.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, cast

import torch
from torch import nn
from torch.nn.functional import conv2d, dropout
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from common.models.cells.walk import StateProducts, States, records, repacked, walk
from common.private.rules.convolution import Convolution, Geometry
from common.private.tape import folded


class ConvRecurrent(nn.Module, ABC):
    """What both cells share: layers, directions and the way through time.

    Args:
        channels: C, of the maps that come in.
        hidden: Channels of a state.
        layers: One on top of the other.
        kernel: Side of the convolutions in pixels; odd, for a map keeps its size.
        bidirectional: The other direction begins at a case's own last step.
        dropout: Share of what passes from one layer to the next that is dropped in training.

    Attributes:
        features: Channels of what comes out: ``hidden`` times the directions.
    """

    gates: ClassVar[int]
    kinds: ClassVar[int]

    def __init__(
        self,
        channels: int,
        hidden: int,
        layers: int = 1,
        kernel: int = 3,
        bidirectional: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"a kernel of {kernel} pixels has no middle")
        self.hidden, self.kernel, self.dropout = hidden, kernel, dropout
        self.directions = ("", "_reverse") if bidirectional else ("",)
        self.features = hidden * len(self.directions)
        self.depth = layers
        for layer in range(layers):
            for suffix in self.directions:
                given = self.features if layer else channels
                for name, width in (("input", given), ("hidden", hidden)):
                    convolution = nn.Conv2d(width, self.gates * hidden, kernel, padding=kernel // 2)
                    self.add_module(f"{name}_l{layer}{suffix}", convolution)

    def forward(self, maps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The state after each step, both directions' side by side.

        Args:
            maps: (B, T, C, h, w); what stands behind a case's own steps is not looked at.
            lengths: (B,) int64 on the CPU, from 1 to T.

        Returns:
            (B, T, features, h, w), zeros behind a case's own steps.
        """
        packed = pack_padded_sequence(maps, lengths, batch_first=True, enforce_sorted=False)
        owner, x = records(packed), packed.data
        for layer in range(self.depth):
            if layer and self.dropout:
                x = dropout(x, self.dropout, self.training)
            ways = [self._direction(x, packed, owner, layer, suffix) for suffix in self.directions]
            x = torch.cat(ways, dim=1) if len(ways) > 1 else ways[0]
        return pad_packed_sequence(repacked(x, packed), batch_first=True, total_length=maps.shape[1])[0]

    def _direction(
        self, x: torch.Tensor, packed: PackedSequence, owner: torch.Tensor, layer: int, suffix: str
    ) -> torch.Tensor:
        """(N, hidden, h, w) states of one layer and direction, of all N steps of all cases."""
        with folded(owner):
            given = self.get_submodule(f"input_l{layer}{suffix}")(x)
        hidden = self.get_submodule(f"hidden_l{layer}{suffix}")
        weight, bias = cast("nn.Parameter", hidden.weight), cast("nn.Parameter", hidden.bias)
        sizes = packed.batch_sizes.tolist()
        products = StateProducts(weight, bias, self._convolved, given, sizes)
        parts = given.split(sizes)

        def step(number: int, states: States) -> States:
            return self.step(parts[number], products(number, states[0]), states)

        zero = given.new_zeros(sizes[0], self.hidden, *given.shape[2:])
        after = walk(step, sizes, (zero,) * self.kinds, reverse=suffix != "")
        products.record(owner, self._use)
        return after

    def _convolved(
        self, state: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        return conv2d(state, weight, bias, padding=self.kernel // 2)

    def _use(
        self, weight: nn.Parameter, bias: nn.Parameter | None, states: torch.Tensor, handle: torch.Tensor
    ) -> Convolution:
        middle = self.kernel // 2
        geometry = Geometry((self.kernel, self.kernel), (1, 1), (middle, middle), (1, 1), 1)
        return Convolution(weight, bias, geometry, states, handle)

    @abstractmethod
    def step(self, given: torch.Tensor, product: torch.Tensor, states: States) -> States:
        """The next states, the one that is given out first.

        Args:
            given: (n, gates * hidden, h, w), the input's convolution.
            product: The same, the hidden state's.
            states: (n, hidden, h, w) of each kind.
        """


class ConvGRU(ConvRecurrent):
    """A GRU over maps; see the module."""

    gates = 3
    kinds = 1

    def step(self, given: torch.Tensor, product: torch.Tensor, states: States) -> States:
        """See the base class."""
        width = self.hidden
        r, z = (given[:, : 2 * width] + product[:, : 2 * width]).sigmoid().chunk(2, dim=1)
        n = torch.addcmul(given[:, 2 * width :], r, product[:, 2 * width :]).tanh()
        return (torch.lerp(n, states[0], z),)


class ConvLSTM(ConvRecurrent):
    """An LSTM over maps; see the module."""

    gates = 4
    kinds = 2

    def step(self, given: torch.Tensor, product: torch.Tensor, states: States) -> States:
        """See the base class."""
        i, f, g, o = (given + product).chunk(4, dim=1)
        cell = torch.addcmul(f.sigmoid() * states[1], i.sigmoid(), g.tanh())
        return o.sigmoid() * cell.tanh(), cell

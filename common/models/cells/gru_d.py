"""GRU-D (Che et al. 2018, Sci. Rep. 8:6085): a GRU that lets what was not measured fade.

At a step with values x, flags m (1 where measured) and gaps d (time since a variable was last measured), with
x' the last measured value, 0 the variable's mean (values are scaled so), ``.`` a product by feature:

    gamma_x = exp(-max(0, w . d + b))                   eq. 10, w diagonal
    gamma_h = exp(-max(0, W_d d + b_d))                 eq. 10
    x^      = m . x + (1 - m) . gamma_x . x'            eq. 11, the mean being 0
    h^      = gamma_h . h                               eq. 12
    r       = s(W_r x^ + U_r h^ + V_r m + b_r)          eq. 13
    z       = s(W_z x^ + U_z h^ + V_z m + b_z)          eq. 14
    n       = tanh(W x^ + U (r . h^) + V m + b)         eq. 15
    h'      = (1 - z) . h^ + z . n                      eq. 16

All that does not depend on h is made for all steps at once. Invariant: what comes out for a case depends
neither on the padding behind it nor on its batch.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn.functional import linear
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from common.models.cells.walk import StateProducts, States, records, repacked, walk
from common.private.diagonal import Diagonal
from common.private.tape import OuterProduct, folded


class GRUD(nn.Module):
    """GRU-D over the steps of a record.

    Weights are called ``input_decay`` (w, b), ``hidden_decay`` (W_d, b_d), ``input`` (W beside V, of r, z and
    n, with their biases), ``gates`` (U_r, U_z) and ``candidate`` (U).

    Args:
        variables: V.
        hidden: H, width of the state.

    Attributes:
        features: H.
    """

    def __init__(self, variables: int, hidden: int) -> None:
        super().__init__()
        self.features = hidden
        self.input_decay = Diagonal(variables)
        # What decays by less than nothing does not decay, and would not learn to.
        nn.init.uniform_(self.input_decay.weight)
        self.hidden_decay = nn.Linear(variables, hidden)
        self.input = nn.Linear(2 * variables, 3 * hidden)
        self.gates = nn.Linear(hidden, 2 * hidden, bias=False)
        self.candidate = nn.Linear(hidden, hidden, bias=False)

    def forward(self, steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The state after each step.

        Args:
            steps: (B, T, 3 V), scaled values (0 where not measured), flags, gaps; zeros behind each length.
            lengths: (B,) int64 on the CPU, from 1 to T.

        Returns:
            (B, T, H), zeros behind each length.
        """
        values, flags, gaps = steps.chunk(3, dim=2)
        faded = torch.exp(-torch.relu(self.input_decay(gaps))) * _last(values, flags)
        filled = torch.where(flags > 0, values, faded)
        seen = torch.cat([filled, flags, gaps], dim=2)
        packed = pack_padded_sequence(seen, lengths, batch_first=True, enforce_sorted=False)
        states = repacked(self._states(packed), packed)
        return pad_packed_sequence(states, batch_first=True, total_length=steps.shape[1])[0]

    def _states(self, packed: PackedSequence) -> torch.Tensor:
        """(N, H) states after all N steps of all cases."""
        owner, variables = records(packed), packed.data.shape[1] // 3
        with folded(owner):
            given = self.input(packed.data[:, : 2 * variables])
            # Autocast leaves exponentials in float32, and states shall be of one type.
            decay = torch.exp(-torch.relu(self.hidden_decay(packed.data[:, 2 * variables :]))).to(given.dtype)
        sizes, width = packed.batch_sizes.tolist(), self.features
        for_gates, for_candidate = given.split([2 * width, width], dim=1)
        gates, candidate = (
            _products(self.gates, for_gates, sizes),
            _products(self.candidate, for_candidate, sizes),
        )
        parts = list(zip(*(x.split(sizes) for x in (decay, for_gates, for_candidate)), strict=True))

        def step(number: int, states: States) -> States:
            fading, to_gates, to_candidate = parts[number]
            h = fading * states[0]
            r, z = (to_gates + gates(number, h)).sigmoid().chunk(2, dim=1)
            n = (to_candidate + candidate(number, r * h)).tanh()
            return (torch.lerp(h, n, z),)

        after = walk(step, sizes, (given.new_zeros(sizes[0], width),), reverse=False)
        gates.record(owner, _use)
        candidate.record(owner, _use)
        return after


def _products(layer: nn.Linear, like: torch.Tensor, sizes: list[int]) -> StateProducts:
    return StateProducts(cast("nn.Parameter", layer.weight), None, linear, like, sizes)


def _use(
    weight: nn.Parameter, bias: nn.Parameter | None, states: torch.Tensor, handle: torch.Tensor
) -> OuterProduct:
    return OuterProduct(weight, bias, states.unsqueeze(1), handle)


def _last(values: torch.Tensor, flags: torch.Tensor) -> torch.Tensor:
    """(B, T, V) the last measured value of each variable up to each step; 0, the mean, before the first."""
    steps = torch.arange(1, values.shape[1] + 1, device=values.device)[:, None]
    last = torch.cummax(torch.where(flags > 0, steps, 0), dim=1).values
    return values.gather(1, (last - 1).clamp_min(0)) * (last > 0)

"""A generator's networks that are exported: over whole pictures, and of a single step that writes a row."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import logsigmoid, pad

from client.exporting.masked import MaskedRecurrent
from client.exporting.network import copied
from common.models.generator import RowGenerator, shifted, signed
from common.models.logistics import FLOOR, LEVELS, LOG_SCALES, levels_of


class _Writing(nn.Module):
    """A generator's layers, without packed sequences."""

    def __init__(self, network: RowGenerator) -> None:
        super().__init__()
        self.own = copied(network)
        self.recurrent = MaskedRecurrent(self.own.recurrent)
        del self.own.recurrent
        self.eval()

    def parameters_of(self, context: torch.Tensor, above: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """(R, W, 15) of rows.

        Args:
            context: (R, channels, W) what the state says of each place.
            above: (R, 2, W) the two rows above, the nearer first, from -1 to 1.
            rows: (R, W) the rows themselves; a pixel sees those to its left.
        """
        own = self.own
        seen = context + own.above(above) + own.left(pad(rows.unsqueeze(1), (1, 0))[:, :, :-1])
        for block in own.blocks:
            seen = block(seen)
        found: torch.Tensor = own.head(torch.relu(seen)).transpose(1, 2)
        return found


class ExportableGenerator(_Writing):
    """What :class:`~common.models.RowGenerator` gives in eval mode, and what that says of the pictures."""

    def forward(
        self, steps: torch.Tensor, lengths: torch.Tensor, classes: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, H, W, 15) parameters and (B, H, W) log probabilities in nats."""
        batch, rows, width = steps.shape
        shades = signed(steps)
        earlier = shifted(shades, 1)
        context = self.own.context_of(self.recurrent(earlier, lengths), classes)
        above = torch.stack([earlier, shifted(shades, 2)], dim=2)
        flat = self.parameters_of(
            context.flatten(0, 1), above.flatten(0, 1), shades.reshape(batch * rows, width)
        )
        parameters = flat.reshape(batch, rows, width, -1)
        return parameters, _log_probabilities(parameters, levels_of(steps))


class ExportableRow(_Writing):
    """One row's parameters by what is written of it, and the next state of the recurrent stack."""

    def forward(
        self,
        above: torch.Tensor,
        row: torch.Tensor,
        state: torch.Tensor,
        classes: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, W, 15) and (states, B, hidden); see :func:`client.exporting.interface.row_interface`."""
        shades = signed(above)
        read, state = self.recurrent.step(shades[:, 0], state)
        context = self.own.context_of(read.unsqueeze(1), classes).squeeze(1)
        return self.parameters_of(context, shades, signed(row)), state


def _log_probabilities(parameters: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """As :func:`common.models.logistics.log_probabilities`, in functions that ONNX has.

    It has no ``expm1``, and ``1 - exp(-y)`` is rounded away for small y: it is ``2 exp(-y / 2) sinh(y / 2)``.
    """
    weights, means, log_scales = parameters.chunk(3, dim=-1)
    log_scales = log_scales.clamp(*LOG_SCALES)
    centred = (levels / ((LEVELS - 1) / 2) - 1).unsqueeze(-1) - means
    per_scale, half = torch.exp(-log_scales), 1.0 / (LEVELS - 1)
    above, below = (centred + half) * per_scale, (centred - half) * per_scale
    first, last = (levels == 0).unsqueeze(-1), (levels == LEVELS - 1).unsqueeze(-1)
    whole = logsigmoid(above).masked_fill(last, 0.0) + logsigmoid(-below).masked_fill(first, 0.0)
    half_width = half * per_scale
    inner = math.log(2) - half_width + torch.log(torch.sinh(half_width))
    mixed = torch.logsumexp(
        weights.log_softmax(dim=-1) + whole + inner.masked_fill(first | last, 0.0), dim=-1
    )
    floor = torch.full_like(mixed, math.log(FLOOR / LEVELS))
    return torch.logaddexp(mixed + math.log1p(-FLOOR), floor)

"""Brightness of a pixel as a mixture of logistic distributions over its 256 levels (Salimans et al. 2017).

A logistic distribution is cut into the levels' intervals; the first and the last take the tails, so that the
probabilities of all levels have the sum one. With F(x) = sigmoid((x - mean) / scale), x the brightness from
-1 to 1, and a level's interval from x - 1/255 to x + 1/255 (arXiv 1701.05517, eq. 2)

    log (F(up) - F(low)) = log sigmoid(a) + log sigmoid(-b) + log (1 - exp(b - a))

holds exactly with a and b the arguments of F, so nothing is approximated where a level is unlikely. One
hundred-thousandth of the whole is shared evenly by all levels, so that no pixel costs more than 18 nats.
"""

from __future__ import annotations

import math

import torch
from torch.nn.functional import logsigmoid

LEVELS = 256
FLOOR = 1e-5
LOG_SCALES = (-7.0, 7.0)
"""Between these a scale is held, as its logarithm: at the least all of it lies in one level."""


def levels_of(brightness: torch.Tensor) -> torch.Tensor:
    """Levels from 0 to 255, as int64, of brightness in [0, 1]."""
    return (brightness.clamp(0, 1) * (LEVELS - 1)).round().long()


def log_probabilities(parameters: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """(...) log probability in nats of each level.

    Args:
        parameters: (..., 3 K) float32: K logits of weights, K means, K logarithms of scales.
        levels: (...) int64, from 0 to 255.
    """
    weights, means, log_scales = _parts(parameters)
    centred = (levels / ((LEVELS - 1) / 2) - 1).unsqueeze(-1) - means
    per_scale, half = torch.exp(-log_scales), 1.0 / (LEVELS - 1)
    above, below = (centred + half) * per_scale, (centred - half) * per_scale
    first, last = (levels == 0).unsqueeze(-1), (levels == LEVELS - 1).unsqueeze(-1)
    whole = logsigmoid(above).masked_fill(last, 0.0) + logsigmoid(-below).masked_fill(first, 0.0)
    inner = torch.log(-torch.expm1(-2 * half * per_scale)).masked_fill(first | last, 0.0)
    mixed = torch.logsumexp(weights.log_softmax(dim=-1) + whole + inner, dim=-1)
    floor = torch.full_like(mixed, math.log(FLOOR / LEVELS))
    return torch.logaddexp(mixed + math.log1p(-FLOOR), floor)


def draw(parameters: torch.Tensor, generator: torch.Generator, temperature: float) -> torch.Tensor:
    """(N,) float32 brightness in [0, 1], of one of the 256 levels; drawn from the mixture without its floor.

    Args:
        parameters: (N, 3 K), as above.
        generator: On the same device.
        temperature: 1.0 for the distribution itself; below it the likely becomes likelier and scales smaller.
    """
    weights, means, log_scales = _parts(parameters)
    chances = (weights / temperature).softmax(dim=-1)
    chosen = torch.multinomial(chances, 1, generator=generator)
    mean, log_scale = means.gather(1, chosen).squeeze(1), log_scales.gather(1, chosen).squeeze(1)
    uniform = torch.rand(mean.shape, generator=generator, device=mean.device).clamp(1e-6, 1 - 1e-6)
    value = mean + temperature * torch.exp(log_scale) * torch.logit(uniform)
    return ((value + 1) / 2 * (LEVELS - 1)).round().clamp(0, LEVELS - 1) / (LEVELS - 1)


def _parts(parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    weights, means, log_scales = parameters.float().chunk(3, dim=-1)
    return weights, means, log_scales.clamp(*LOG_SCALES)

"""A Gaussian for each pixel of each class: the plainest model of pictures, that a generator has to beat.

It is fitted by the mean and the deviation of each pixel over the training pictures of a class (both are sums,
so hospitals could add them), and cut to the same 256 levels as the generator, tails to the first and last.
It knows where a picture is bright, and nothing of how pixels go together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.special import log_ndtr

from common.models.logistics import FLOOR, LEVELS, levels_of

LEAST_DEVIATION = 1 / (LEVELS - 1)
"""One level: a pixel that is always black would else be certain."""


@dataclass(frozen=True, slots=True, eq=False)
class PixelGaussian:
    """Fitted pictures.

    Attributes:
        mean: (C, H, W) float32 of brightness in [0, 1].
        deviation: (C, H, W) float32.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    @classmethod
    def fitted(cls, pictures: torch.Tensor, classes: torch.Tensor, count: int) -> PixelGaussian:
        """The Gaussians of (N, H, W) brightness and (N,) classes, each of ``count`` at least once.

        Raises:
            ValueError: There is no picture of a class.
        """
        of_class = [pictures[classes == number] for number in range(count)]
        if not all(len(own) for own in of_class):
            raise ValueError("a class without pictures has no mean")
        mean = torch.stack([own.mean(dim=0) for own in of_class])
        deviation = torch.stack([own.std(dim=0, correction=0) for own in of_class])
        return cls(mean, deviation.clamp_min(LEAST_DEVIATION))

    def nats(self, pictures: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """(N,) negative log-likelihood of the levels of (N, H, W) pictures, each by its class."""
        return -self.log_probabilities(levels_of(pictures), classes).sum(dim=(1, 2))

    def log_probabilities(self, levels: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """(N, H, W) log probability in nats of (N, H, W) levels; the sum over all levels is one."""
        centred = levels / (LEVELS - 1) - self.mean[classes]
        half, deviation = 0.5 / (LEVELS - 1), self.deviation[classes]
        above = ((centred + half) / deviation).double().masked_fill(levels == LEVELS - 1, math.inf)
        below = ((centred - half) / deviation).double().masked_fill(levels == 0, -math.inf)
        # On the side of the mean where both tails are small, differences of them keep their digits.
        turned = below > 0
        larger, smaller = torch.where(turned, -below, above), torch.where(turned, -above, below)
        top, bottom = log_ndtr(larger), log_ndtr(smaller)
        exact = top + torch.log(-torch.expm1((bottom - top).clamp_max(-1e-12)))
        floor = torch.full_like(exact, math.log(FLOOR / LEVELS))
        return torch.logaddexp(exact + math.log1p(-FLOOR), floor).float()

    def sample(self, classes: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """(N, H, W) pictures of the 256 levels."""
        mean = self.mean[classes]
        drawn = mean + self.deviation[classes] * torch.randn(mean.shape, generator=generator)
        return levels_of(drawn) / (LEVELS - 1)

"""Gaussian noise on clipped sums: where it enters the optimiser, and the two sources it comes from.

Opacus' own noise is float32 from torch's generator. It is quick, but its values end at 5.8 standard
deviations, and low bits of a float can tell sums apart (Mironov 2012). The cryptographic source has neither
weakness.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.optimizers import DPOptimizerFastGradientClipping

from common.private.secret import Keystream, Secret

BLOCK = 2**13
"""Values that are made at one time: their arrays stay in the processor's cache."""

SUMMED = 4
"""Gaussians behind each value (n = 2 of Holohan and Braghin 2021, sec. 5.1): an attacker who asks which
uniforms can have made a float has 2^159 tuples to try instead of 2^53."""


class NoisyOptimizer(DPOptimizerFastGradientClipping):  # type: ignore[misc]  # opacus has no types
    """Opacus' optimiser of clipped sums, with noise from the site's secret.

    Args:
        optimizer: The one that makes the step.
        noise_multiplier: Standard deviation of the noise as a multiple of the clip norm, which is
            ``max_grad_norm`` and may be set between steps.
        clip_norm: To begin with.
        expected_units: Units of a batch in the mean; their noised sum is divided by it.
        secret: Its streams ``noise`` are used.
        device: Where the parameters are.
        secure: Draw from a cryptographic source.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        noise_multiplier: float,
        clip_norm: float,
        expected_units: float,
        secret: Secret,
        device: torch.device,
        secure: bool,
    ) -> None:
        options: dict[str, Any] = {} if secure else {"generator": secret.generator("noise", device)}
        super().__init__(
            optimizer,
            noise_multiplier=noise_multiplier,
            max_grad_norm=clip_norm,
            expected_batch_size=expected_units,
            **options,
        )
        self._stream = secret.keystream("noise") if secure else None

    def accumulate(self) -> None:
        """Take each parameter's ``grad`` as its clipped sum, not copied, since noise will replace it."""
        for parameter in self.params:
            if parameter.summed_grad is None:
                parameter.summed_grad = parameter.grad
            else:
                parameter.summed_grad.add_(parameter.grad)

    def add_noise(self) -> None:
        """Put each parameter's clipped sum, with noise added, into its ``grad``."""
        if self._stream is None:
            super().add_noise()
            return
        std = self.noise_multiplier * self.max_grad_norm
        for parameter in self.params:
            noise = torch.from_numpy(std * gaussians(self._stream, parameter.numel()))
            exact = parameter.summed_grad.double() + noise.to(parameter.device).view_as(parameter)
            parameter.grad = exact.to(parameter.dtype)


def gaussians(stream: Keystream, count: int) -> NDArray[np.float64]:
    """(count,) independent standard normal values from a cryptographic stream."""
    values = np.empty(count)
    for start in range(0, count, BLOCK):
        part = values[start : start + BLOCK]
        drawn = _box_muller(stream, SUMMED * len(part))
        np.divide(drawn.reshape(SUMMED, -1).sum(axis=0), SUMMED**0.5, out=part)
    return values


def normals(secret: Secret, purpose: str, secure: bool) -> Callable[[int], NDArray[np.float64]]:
    """A source of (count,) standard normal values with 53 random bits behind each, for small releases."""
    if secure:
        return partial(gaussians, secret.keystream(purpose))
    generator = secret.generator(purpose)

    def draw(count: int) -> NDArray[np.float64]:
        values: NDArray[np.float64] = torch.randn(count, generator=generator, dtype=torch.float64).numpy()
        return values

    return draw


def _box_muller(stream: Keystream, count: int) -> NDArray[np.float64]:
    """(count,), even: two normal values from each two uniform ones (Box and Muller 1958)."""
    uniforms = stream.uniforms(count)
    radius = np.sqrt(-2 * np.log(uniforms[: count // 2]))
    angle = 2 * np.pi * uniforms[count // 2 :]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])

"""Gaussian noise on clipped sums: where it enters the optimiser, and the two sources it comes from.

Both are made of a cryptographic stream: a coordinator that chooses the weights can bring gradients to nothing
and see noise alone, and from raw values of a common generator its state, and with it all other noise, is
computed. Ordinary noise is float32; low bits of a float can tell sums apart (Mironov 2012). The secure one,
in float64, does not have that weakness. On a GPU ordinary noise is Opacus', from the GPU's own generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.optimizers import DPOptimizerFastGradientClipping

from common.private.secret import Keystream, Secret

BLOCK, QUICK_BLOCK = 2**13, 2**15
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
        secure: Noise that is also hard to tell by the bits of its floats.
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
        own = not secure and device.type != "cpu"
        options: dict[str, Any] = {"generator": secret.generator("noise", device)} if own else {}
        super().__init__(
            optimizer,
            noise_multiplier=noise_multiplier,
            max_grad_norm=clip_norm,
            expected_batch_size=expected_units,
            **options,
        )
        self._stream = None if own else secret.keystream("noise")
        self._secure = secure

    @property
    def place(self) -> int | torch.Tensor:
        """How far the noise's stream was drawn from: its position, or the state of the GPU's generator."""
        return self.generator.get_state() if self._stream is None else self._stream.position

    def skip_to(self, place: int | torch.Tensor) -> None:
        """Go on where :attr:`place` was."""
        if self._stream is None:
            self.generator.set_state(place)
        else:
            self._stream.skip_to(int(place))

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
        if not self._secure:
            # Drawn for all at once: small parameters would each cost as many calls as large ones.
            sizes = [parameter.numel() for parameter in self.params]
            drawn = torch.split(quick_gaussians(self._stream, sum(sizes)), sizes)
            for parameter, noise in zip(self.params, drawn, strict=True):
                parameter.grad = parameter.summed_grad.add(noise.view_as(parameter), alpha=std)
            return
        for parameter in self.params:
            noise = torch.from_numpy(std * gaussians(self._stream, parameter.numel()))
            exact = parameter.summed_grad.double() + noise.to(parameter.device).view_as(parameter)
            parameter.grad = exact.to(parameter.dtype)


def quick_gaussians(stream: Keystream, count: int) -> torch.Tensor:
    """(count,) float32 standard normal values, 32 random bits behind each (Box and Muller 1958)."""
    values = torch.empty(count + count % 2)
    for part in torch.split(values, QUICK_BLOCK):
        radius, angle = torch.from_numpy(stream.words(len(part)).astype(np.float32)).chunk(2)
        radius.add_(1).mul_(2.0**-32).log_().mul_(-2).sqrt_()
        angle.mul_(2 * math.pi * 2.0**-32)
        torch.mul(radius, angle.cos(), out=part[: len(radius)])
        torch.mul(radius, angle.sin(), out=part[len(radius) :])
    return values[:count]


def gaussians(stream: Keystream, count: int) -> NDArray[np.float64]:
    """(count,) independent standard normal values from a cryptographic stream."""
    values = np.empty(count)
    for start in range(0, count, BLOCK):
        part = values[start : start + BLOCK]
        drawn = _box_muller(stream, SUMMED * len(part))
        np.divide(drawn.reshape(SUMMED, -1).sum(axis=0), SUMMED**0.5, out=part)
    return values


def normals(secret: Secret, purpose: str, secure: bool) -> Callable[[int], NDArray[np.float64]]:
    """A source of (count,) standard normal values in float64, for small releases."""
    stream = secret.keystream(purpose)
    if secure:
        return partial(gaussians, stream)
    return lambda count: _box_muller(stream, count + count % 2)[:count]


def _box_muller(stream: Keystream, count: int) -> NDArray[np.float64]:
    """(count,), even: two normal values from each two uniform ones (Box and Muller 1958)."""
    uniforms = stream.uniforms(count)
    radius = np.sqrt(-2 * np.log(uniforms[: count // 2]))
    angle = 2 * np.pi * uniforms[count // 2 :]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])

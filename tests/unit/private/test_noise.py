"""The noise that is put on gradients is Gaussian, of the variance asked for, from both sources."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from common.private.noise import BLOCK, NoisyOptimizer, gaussians, normals
from common.private.secret import Secret

SECURE = pytest.mark.parametrize("secure", [False, True], ids=["generator", "keystream"])


def optimizer_of(
    parameters: list[nn.Parameter], secret: Secret, *, secure: bool, noise: float = 1.7
) -> NoisyOptimizer:
    return NoisyOptimizer(
        torch.optim.SGD(parameters, lr=1.0),
        noise_multiplier=noise,
        clip_norm=0.5,
        expected_units=4.0,
        secret=secret,
        device=parameters[0].device,
        secure=secure,
    )


def noise_of(secret: Secret, *, secure: bool, size: int = 40_000) -> np.ndarray:
    """What one step changes where all gradients are zero, as a multiple of its due deviation."""
    weight = nn.Parameter(torch.zeros(size))
    weight.grad = torch.zeros(size)
    optimizer_of([weight], secret, secure=secure).step()
    return weight.detach().numpy().astype(np.float64) / (1.7 * 0.5 / 4.0)


def assert_standard_normal(values: np.ndarray) -> None:
    """Moments within four standard errors, and the shares within 1, 2 and 3 deviations."""
    n = len(values)
    assert abs(values.mean()) < 4 / math.sqrt(n)
    assert abs(values.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs((values**4).mean() - 3) < 4 * math.sqrt(96 / n)
    for within in (1, 2, 3):
        share = math.erf(within / math.sqrt(2))
        assert abs((abs(values) < within).mean() - share) < 4 * math.sqrt(share * (1 - share) / n)


@SECURE
def test_the_noise_on_a_gradient_has_the_variance_that_is_accounted(secure: bool) -> None:
    assert_standard_normal(noise_of(Secret.seeded(1), secure=secure))


@SECURE
def test_each_step_and_each_parameter_has_noise_of_its_own(secure: bool) -> None:
    weights = [nn.Parameter(torch.zeros(100)) for _ in range(2)]
    optimizer = optimizer_of(weights, Secret.seeded(1), secure=secure)
    seen = []
    for _ in range(2):
        optimizer.zero_grad()
        for weight in weights:
            weight.grad = torch.zeros(100)
        optimizer.pre_step()
        seen += [weight.grad.clone() for weight in weights if weight.grad is not None]
    correlations = np.corrcoef(torch.stack(seen).numpy()) - np.eye(4)
    assert abs(correlations).max() < 0.5


@SECURE
def test_noise_is_added_to_the_clipped_sum_and_follows_the_clip_norm(secure: bool) -> None:
    still, doubled = (nn.Parameter(torch.zeros(1000)) for _ in range(2))
    for weight, clip_norm in ((still, 0.5), (doubled, 1.0)):
        optimizer = optimizer_of([weight], Secret.seeded(3), secure=secure)
        optimizer.max_grad_norm = clip_norm
        weight.grad = torch.full((1000,), 8.0)
        optimizer.step()
    torch.testing.assert_close(doubled + 2, 2 * (still + 2), rtol=0, atol=1e-5)  # 8 of 4 units is 2


@SECURE
def test_without_noise_the_step_is_the_plain_one(secure: bool) -> None:
    weight = nn.Parameter(torch.zeros(3, 2))
    weight.grad = torch.arange(6.0).view(3, 2)
    optimizer_of([weight], Secret.seeded(1), secure=secure, noise=0.0).step()
    torch.testing.assert_close(weight.detach(), -torch.arange(6.0).view(3, 2) / 4)


@SECURE
def test_noise_is_decided_by_the_secret(secure: bool) -> None:
    one, same, other = (noise_of(Secret.seeded(seed), secure=secure, size=50) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.isclose(one, other).any()


@SECURE
def test_parameters_that_do_not_learn_get_no_noise(secure: bool) -> None:
    weight, frozen = nn.Parameter(torch.zeros(5)), nn.Parameter(torch.zeros(5), requires_grad=False)
    weight.grad = torch.zeros(5)
    optimizer_of([weight, frozen], Secret.seeded(1), secure=secure).step()
    assert weight.abs().min() > 0
    assert frozen.abs().max() == 0


def test_secure_values_reach_further_than_the_generators() -> None:
    values = gaussians(Secret.seeded(1).keystream("noise"), 3 * BLOCK + 5)
    assert len(values) == 3 * BLOCK + 5
    assert len(np.unique(values)) == len(values)
    assert_standard_normal(values)
    assert len(np.unique(values.astype(np.float32).view(np.uint32) & 0xFF)) == 256  # low bits of all kinds


@SECURE
def test_small_releases_draw_from_either_source(secure: bool) -> None:
    draw = normals(Secret.seeded(1), "count", secure=secure)
    assert_standard_normal(np.concatenate([draw(1000) for _ in range(20)]))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@SECURE
def test_the_noise_on_a_gradient_on_a_gpu_has_the_variance_that_is_accounted(secure: bool) -> None:
    weight = nn.Parameter(torch.zeros(40_000, device="cuda"))
    weight.grad = torch.zeros_like(weight)
    optimizer_of([weight], Secret.seeded(1), secure=secure).step()
    assert_standard_normal(weight.detach().cpu().numpy().astype(np.float64) / (1.7 * 0.5 / 4.0))

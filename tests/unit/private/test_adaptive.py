"""The clip norm finds the quantile, and its count costs what the plan says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from common.private.accounting import epsilon_of
from common.private.adaptive import COUNT_SHARE, REACH, AdaptiveClip, count_noise_for
from common.private.event import Event

CASES = pytest.mark.parametrize(("noise", "expected"), [(0.5, 100.0), (1.0, 5.0), (4.0, 400.0), (30.0, 2.0)])


@CASES
def test_gradients_and_count_together_cost_what_is_accounted(noise: float, expected: float) -> None:
    clip = AdaptiveClip(0.5, 0.2, count_noise_for(noise, expected), 1.0)
    # A unit moves the count, centred, by one half: so its noise multiplier is twice its deviation.
    together = [Event(clip.gradient_noise(noise), 1.0, 1), Event(clip.count_noise / 0.5, 1.0, 1)]
    assert epsilon_of(together, 1e-5, "rdp") == pytest.approx(epsilon_of([Event(noise, 1.0, 1)], 1e-5, "rdp"))


@CASES
def test_the_count_takes_a_small_share(noise: float, expected: float) -> None:
    count_noise = count_noise_for(noise, expected)
    assert (2 * count_noise) ** -2 <= COUNT_SHARE * noise**-2 * (1 + 1e-12)
    assert AdaptiveClip(0.5, 0.2, count_noise, 1.0).gradient_noise(noise) <= noise * 1.055
    assert count_noise >= expected / 20


def test_large_batches_get_the_noise_of_the_paper() -> None:
    assert count_noise_for(1.0, 1000.0) == 50.0


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.8])
def test_the_clip_norm_finds_the_quantile_of_the_norms(quantile: float) -> None:
    rng = np.random.default_rng(0)
    clip, norm = AdaptiveClip(quantile, 0.2, 5.0, 20.0), 20.0
    norms = []
    for _ in range(400):
        gradients = rng.lognormal(0.0, 1.0, rng.binomial(1000, 0.1))
        whole = int((gradients <= norm).sum())
        norm = clip.next_norm(norm, whole, len(gradients), 100.0, rng.standard_normal())
        norms.append(norm)
    assert math.erf(math.log(np.median(norms[100:])) / math.sqrt(2)) / 2 + 0.5 == pytest.approx(
        quantile, abs=0.05
    )


def test_an_empty_batch_moves_the_clip_norm_by_noise_alone() -> None:
    clip = AdaptiveClip(0.5, 0.2, 4.0, 1.0)
    assert clip.next_norm(1.0, 0, 0, 40.0, 0.0) == 1.0
    assert clip.next_norm(1.0, 0, 0, 40.0, 2.0) == pytest.approx(math.exp(-0.2 * 8 / 40))


def test_the_clip_norm_stays_a_number() -> None:
    clip = AdaptiveClip(0.5, 2.0, 1.0, 3.0)
    assert clip.next_norm(3.0, 10**6, 10**6, 1.0, 0.0) == 3.0 / REACH
    assert clip.next_norm(3.0, 0, 200, 1.0, 0.0) == 3.0 * REACH

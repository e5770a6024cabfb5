"""A picture is written pixel by pixel, each by those before it, and its likelihood is a true one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from common.contract import leavings_of
from common.errors import StudyError
from common.learning import learning_of
from common.metrics import GenerationSums, sums_kind, sums_of
from common.models import RowGenerator, build_model
from common.models.logistics import FLOOR, LEVELS, draw, levels_of, log_probabilities
from common.models.sampling import sample
from common.private.bookkeeping import Bookkeeper
from common.sequences import SequenceBatch
from common.study import Study
from deploy.rivals.pixel_gaussian import PixelGaussian

MakeStudy = Callable[..., Study]
HEAD = {"task": "generation"}
ONE = {"task": "generation", "labels": {"0": "chest", "1": "chest"}}
SIDE = 8
EVERY_LEVEL = torch.arange(LEVELS)
CLASSES = torch.tensor([0, 1, 1])


def model_of(study: Study, seed: int = 0) -> RowGenerator:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = build_model(study).eval()
    assert isinstance(model, RowGenerator)
    return model


def batch_of(count: int = 3, seed: int = 1) -> SequenceBatch:
    """Pictures of noise, of two classes."""
    drawn = torch.randint(0, LEVELS, (count, SIDE, SIDE), generator=torch.Generator().manual_seed(seed))
    return SequenceBatch(drawn / (LEVELS - 1), torch.full((count,), SIDE), torch.arange(count) % 2)


# --- what is given for a pixel


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
@torch.no_grad()
def test_a_pixel_is_given_by_those_before_it_alone(study: MakeStudy, cell: str) -> None:
    model = model_of(study(study=HEAD, model={"cell": cell, "layers": 2}))
    batch = batch_of(1)
    before = model.on(batch).flatten(1, 2)
    for pixel in range(SIDE * SIDE):
        changed = batch.steps.clone()
        changed.view(-1)[pixel] = 1 - changed.view(-1)[pixel]
        after = model.on(replace(batch, steps=changed)).flatten(1, 2)
        assert torch.equal(after[:, : pixel + 1], before[:, : pixel + 1])
        assert pixel == SIDE * SIDE - 1 or not torch.equal(after[:, pixel + 1 :], before[:, pixel + 1 :])


@torch.no_grad()
def test_a_picture_s_output_is_that_it_has_alone(study: MakeStudy) -> None:
    model, batch = model_of(study(study=HEAD)), batch_of()
    together = model.on(batch)
    for case in range(3):
        torch.testing.assert_close(together[case], model.on(batch.take(torch.tensor([case])))[0])


@torch.no_grad()
def test_classes_matter_where_there_are_several(study: MakeStudy) -> None:
    batch = batch_of()
    other = replace(batch, targets=1 - batch.targets)
    model = model_of(study(study=HEAD))
    assert not torch.equal(model.on(batch), model.on(other))
    with pytest.raises(ValueError, match="no classes are given"):
        model(batch.steps, batch.lengths)
    alike = model_of(study(study=ONE))
    assert torch.equal(alike.on(batch), alike(batch.steps, batch.lengths))


# --- its distribution


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0, 30.0])
def test_the_levels_probabilities_have_the_sum_one(scale: float) -> None:
    drawn = scale * torch.randn(20, 15, generator=torch.Generator().manual_seed(3))
    each = log_probabilities(drawn[:, None].expand(20, LEVELS, 15), EVERY_LEVEL.expand(20, LEVELS))
    torch.testing.assert_close(each.double().exp().sum(dim=1), torch.ones(20).double(), rtol=1e-4, atol=1e-4)
    assert each.min() >= math.log(FLOOR / LEVELS) - 1e-4


def test_a_level_s_probability_is_its_interval_of_the_mixture() -> None:
    drawn = torch.randn(6, generator=torch.Generator().manual_seed(4)).double()
    weights, means, scales = drawn[:2].softmax(0), drawn[2:4], drawn[4:].exp()

    def below(edge: float) -> float:
        return float((weights * torch.sigmoid((edge - means) / scales)).sum())

    edges = [-math.inf, *((2 * k - LEVELS) / (LEVELS - 1) for k in range(1, LEVELS)), math.inf]
    for level in (0, 1, 100, LEVELS - 1):
        inside = below(edges[level + 1]) - below(edges[level])
        expected = (1 - FLOOR) * inside + FLOOR / LEVELS
        found = log_probabilities(drawn.float(), torch.tensor(level)).exp()
        assert float(found) == pytest.approx(expected, rel=1e-4)


def test_gradients_are_finite_however_sharp_and_wrong() -> None:
    parameters = torch.tensor([0.0, 0.0, 900.0, -900.0, -50.0, 50.0], requires_grad=True)
    for level in (0, 128, LEVELS - 1):
        (gradient,) = torch.autograd.grad(log_probabilities(parameters, torch.tensor(level)), parameters)
        assert gradient.isfinite().all()


def test_draws_have_the_levels_probabilities() -> None:
    parameters = torch.tensor([0.3, -0.4, -0.5, 0.6, -3.0, -2.0])
    drawn = draw(parameters.expand(40_000, 6), torch.Generator().manual_seed(5), 1.0)
    found = torch.bincount(levels_of(drawn), minlength=LEVELS) / 40_000
    expected = log_probabilities(parameters.expand(LEVELS, 6), EVERY_LEVEL).exp()
    assert (found - expected).abs().sum() < 0.08
    assert torch.equal(levels_of(drawn) / (LEVELS - 1), drawn)


# --- pictures that are drawn


@torch.no_grad()
def test_drawing_place_by_place_gives_what_the_whole_model_gives(study: MakeStudy) -> None:
    model = model_of(study(study=HEAD, model={"layers": 2}))
    drawn = sample(model, CLASSES, torch.Generator().manual_seed(6), temperature=0.8)
    generator, slow = torch.Generator().manual_seed(6), torch.zeros(3, SIDE, SIDE)
    for row in range(SIDE):
        for column in range(SIDE):
            given = model(slow, torch.full((3,), SIDE), CLASSES)[:, row, column]
            slow[:, row, column] = draw(given, generator, 0.8)
    assert torch.equal(levels_of(drawn), levels_of(slow))


def test_drawing_is_seeded_and_has_the_asked_height(study: MakeStudy) -> None:
    model = model_of(study(study=HEAD))
    one, same, other = (
        sample(model, CLASSES, torch.Generator().manual_seed(seed), height=5) for seed in (7, 7, 8)
    )
    assert one.shape == (3, 5, SIDE)
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert one.min() >= 0 and one.max() <= 1
    assert len(sample(model, CLASSES[:0], torch.Generator())) == 0


@pytest.mark.parametrize(("classes", "temperature"), [([2], 1.0), ([-1], 1.0), ([0], 0.0), ([0], math.nan)])
def test_drawing_refuses_what_makes_no_sense(
    study: MakeStudy, classes: list[int], temperature: float
) -> None:
    with pytest.raises(ValueError):
        sample(model_of(study(study=HEAD)), torch.tensor(classes), torch.Generator(), temperature)


# --- loss and counts


def test_a_picture_s_loss_is_the_sum_over_its_pixels(study: MakeStudy) -> None:
    made, batch = study(study=HEAD), batch_of()
    model, learning = model_of(made), learning_of(made)
    output = model.on(batch)
    each = -log_probabilities(output, levels_of(batch.steps))
    torch.testing.assert_close(learning.losses(output, batch), each.sum(dim=(1, 2)))
    torch.testing.assert_close(learning.loss(output, batch), each.mean())
    shorter = replace(batch, lengths=torch.tensor([SIDE, 3, 1]))
    torch.testing.assert_close(learning.losses(output, shorter)[1], each[1, :3].sum())
    weighted = learning_of(made, (3.0, 1.0)).loss(output, batch)
    torch.testing.assert_close(weighted, (each.mean(dim=(1, 2)) * torch.tensor([3.0, 1.0, 3.0])).sum() / 7)


def test_private_training_knows_every_picture_s_gradient(study: MakeStudy) -> None:
    made, batch = study(study=HEAD), batch_of()
    model, learning = model_of(made).train(), learning_of(made)
    alone = []
    for case in range(3):
        one = batch.take(torch.tensor([case]))
        found = torch.autograd.grad(
            learning.losses(model.on(one), one).sum(), list(model.parameters()), allow_unused=True
        )
        flat = [
            torch.zeros_like(p) if g is None else g for p, g in zip(model.parameters(), found, strict=True)
        ]
        alone.append(torch.cat([gradient.flatten() for gradient in flat]))
    with Bookkeeper(model) as bookkeeper:
        norms = bookkeeper.clipped_sum(
            lambda: learning.losses(model.on(batch), batch), torch.arange(3), 3, clip_norm=50.0
        )
    summed = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(norms, torch.stack([g.norm() for g in alone]), rtol=1e-2, atol=1e-4)
    expected = sum((g * (50.0 / g.norm()).clamp(max=1) for g in alone), torch.zeros_like(summed))
    torch.testing.assert_close(summed, expected, rtol=2e-2, atol=1e-2)


def test_bits_are_by_class_and_of_all(study: MakeStudy) -> None:
    nats, pixels, labels = np.array([64.0, 32.0, 96.0]), np.array([64, 64, 64]), np.array([0, 1, 1])
    sums = GenerationSums.count(nats, pixels, labels, 3)
    sums.check(3)
    found = sums.figures(("a", "b", "c"))
    bits = 1 / math.log(2)
    assert found["bits_per_dim"] == pytest.approx(bits)
    assert found["bits_per_dim_by_class"] == {"a": pytest.approx(bits), "b": pytest.approx(bits), "c": None}
    assert (found["n"], found["loss"], found["labels"]) == (3, pytest.approx(64.0), {"a": 1, "b": 2, "c": 0})
    assert GenerationSums.none(2).figures(("a", "b"))["bits_per_dim"] is None
    kind = sums_kind(study(study=HEAD))
    assert type(sums_of(sums.loss, sums.arrays())) is kind is GenerationSums


@pytest.mark.parametrize(
    "change",
    [
        {"pixels": np.array([0, 64])},
        {"pixels": np.array([1, 64])},
        {"pictures": np.array([2, -1])},
        {"nats": np.array([1.0, 2.0])},
        {"nats": np.array([np.nan, 100.0])},
        {"pixels": np.array([3, 64]), "pictures": np.array([1, 1])},
        {"pictures": np.array([1, 1, 1])},
    ],
)
def test_counts_that_cannot_be_are_refused(change: dict[str, Any]) -> None:
    sums = GenerationSums.count(np.array([100.0, 90.0]), np.array([64, 64]), np.array([0, 1]), 2)
    sums.check(2)
    with pytest.raises(ValueError):
        replace(sums, **change).check(2)


# --- what is refused, and what leaves


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"model": {"bidirectional": True}}, "bidirectional"),
        ({"model": {"encoder": "cnn"}}, "encoder cnn"),
        ({"model": {"encoder": "hog"}}, "encoder hog"),
        ({"sequence": {"kind": "patches", "size": 32}}, "not built for a sequence of patches"),
        ({"sequence": {"kind": "frames", "size": 8}}, "not built for a sequence of frames"),
        ({"privacy": {"noise_multiplier": 1.0, "evaluation_epsilon": 1.0}}, "evaluation_epsilon"),
    ],
)
def test_what_is_not_built_is_refused_by_name(study: MakeStudy, sections: dict[str, Any], words: str) -> None:
    with pytest.raises(StudyError, match=words):
        study(study=HEAD, **sections)


def test_what_leaves_is_named(study: MakeStudy) -> None:
    left = {each.what for each in leavings_of(study(study=HEAD))}
    assert {"test-loss", "generation-counts"} <= left
    assert not {"confusion", "calibration", "score-histogram"} & left


# --- the rival


def test_the_gaussian_s_levels_have_the_sum_one() -> None:
    mean = torch.tensor([[[0.0, 0.3], [0.999, 1.0]]])
    for deviation in (1 / 255, 0.05, 0.6):
        rival = PixelGaussian(mean, torch.full_like(mean, deviation))
        levels = EVERY_LEVEL[:, None, None].expand(LEVELS, 2, 2)
        each = rival.log_probabilities(levels, torch.zeros(LEVELS, dtype=torch.int64))
        torch.testing.assert_close(
            each.double().exp().sum(dim=0), torch.ones(2, 2).double(), atol=1e-5, rtol=0
        )


def test_the_gaussian_is_fitted_by_class_and_draws_what_it_was_fitted_to() -> None:
    generator = torch.Generator().manual_seed(9)
    classes = torch.arange(600) % 2
    truth = torch.tensor([[0.3, 0.5], [0.6, 0.7]])
    pictures = (truth[classes][:, None, :] + 0.05 * torch.randn(600, 1, 2, generator=generator)).clamp(0, 1)
    rival = PixelGaussian.fitted(pictures, classes, 2)
    torch.testing.assert_close(rival.mean[:, 0], truth, atol=0.01, rtol=0)
    again = PixelGaussian.fitted(rival.sample(classes, generator), classes, 2)
    torch.testing.assert_close(again.mean, rival.mean, atol=0.01, rtol=0)
    torch.testing.assert_close(again.deviation, rival.deviation, atol=0.01, rtol=0)
    own, others = rival.nats(pictures, classes).mean(), rival.nats(pictures, 1 - classes).mean()
    entropy = 2 * (math.log(0.05 * (LEVELS - 1)) + 0.5 * math.log(2 * math.pi * math.e))
    assert float(own) == pytest.approx(entropy, abs=0.1)
    assert others > own + 5
    with pytest.raises(ValueError, match="without pictures"):
        PixelGaussian.fitted(pictures, classes, 3)

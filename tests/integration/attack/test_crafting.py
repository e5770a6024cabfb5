"""Canaries and their company: what is changed of a case, and what is left as it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn.functional import cross_entropy

from common.models import SequenceClassifier
from common.sequences import SequenceBatch
from deploy.attack.crafting import clearest, crafted, direction, of_unit
from deploy.attack.own_gradient import flat, own_gradient, trainable
from deploy.attack.scenes import COMPANIONS, scenes

Tiny = Callable[..., SequenceClassifier]
UNITS = torch.tensor([1, 0, 1, 2, 0, 1])


@pytest.fixture
def cases() -> SequenceBatch:
    draw = torch.Generator().manual_seed(0)
    lengths = torch.tensor([8, 5, 8, 3, 8, 8])
    steps = torch.randn(6, 8, 8, generator=draw)
    steps[torch.arange(8)[None, :] >= lengths[:, None]] = 0.0
    return SequenceBatch(steps, lengths, torch.tensor([0, 1, 1, 0, 1, 0]))


def test_a_unit_is_its_own_cases_and_no_more_than_asked_for(cases: SequenceBatch) -> None:
    assert of_unit(cases, UNITS, 1, 9).targets.tolist() == [0, 1, 0]
    assert of_unit(cases, UNITS, 1, 2).targets.tolist() == [0, 1]


def test_a_canary_has_another_label_and_larger_values(cases: SequenceBatch) -> None:
    made = crafted(cases, 3, 10.0, torch.Generator().manual_seed(1))
    assert made.targets.tolist() == [1, 2, 2, 1, 2, 1]
    torch.testing.assert_close(made.steps.abs(), 10 * cases.steps.abs())
    assert (made.steps.sign() != cases.steps.sign()).any()
    assert made.lengths.equal(cases.lengths)


def test_the_clearest_has_the_largest_gradient_that_is_finite(tiny: Tiny, cases: SequenceBatch) -> None:
    model = tiny(0)
    units = [of_unit(cases, UNITS, unit, 9) for unit in range(3)]
    endless = SequenceBatch(units[0].steps * torch.inf, units[0].lengths, units[0].targets)
    found = clearest(model, [*units, endless])
    assert found is max(units, key=lambda unit: float(own_gradient(model, unit).norm()))


def test_the_own_gradient_is_that_of_the_mean_loss(tiny: Tiny, cases: SequenceBatch) -> None:
    model = tiny(1, model={"layers": 2, "bidirectional": True})
    cross_entropy(model(cases.steps, cases.lengths), cases.targets).backward()
    expected = flat(w.grad for w in trainable(model) if w.grad is not None)
    torch.testing.assert_close(own_gradient(model, cases), expected, atol=1e-6, rtol=1e-4)


def test_the_own_gradient_leaves_the_model_and_the_dice_alone(tiny: Tiny, cases: SequenceBatch) -> None:
    model = tiny(0, model={"dropout": 0.5}).train()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = own_gradient(model, cases), own_gradient(model, cases)
    assert first.equal(second) and torch.rand(1).equal(expected)
    assert all(weight.grad is None for weight in model.parameters())


def test_a_direction_has_length_one_or_none() -> None:
    assert direction(torch.tensor([3.0, 4.0])).tolist() == pytest.approx([0.6, 0.8])
    assert direction(torch.zeros(2)).tolist() == [0.0, 0.0]
    assert direction(torch.tensor([torch.inf, 1.0])).isfinite().all()


def test_scenes_differ_in_company_and_only_the_canary_leaves(cases: SequenceBatch) -> None:
    canary, others = of_unit(cases, UNITS, 1, 9), [of_unit(cases, UNITS, unit, 9) for unit in (0, 2)]
    found = {scene.name: scene for scene in scenes(canary, others * 5, torch.Generator().manual_seed(0))}
    assert len(found["alone"].units) == 1 and len(found["among others"].units) == COMPANIONS + 1
    for scene in found.values():
        assert not len(scene.without[scene.canary])
        assert len(scene.without) == len(scene.units)
        kept = [unit for place, unit in enumerate(scene.without) if place != scene.canary]
        assert all(any(unit is other for other in scene.units) for unit in kept)


def test_ragged_scenes_put_the_canary_out_of_its_sorted_place(cases: SequenceBatch) -> None:
    canary, other = of_unit(cases, UNITS, 1, 1), cases.take(torch.tensor([4]))
    found = {scene.name: scene for scene in scenes(canary, [other] * 6, torch.Generator().manual_seed(0))}
    last, first = found["last of a ragged batch"], found["first of a ragged batch"]
    assert last.units[-1].lengths.max() > max(int(unit.lengths.max()) for unit in last.units[:-1])
    assert first.units[0].lengths.max() < max(int(unit.lengths.max()) for unit in first.units[1:])
    for unit in last.units:
        behind = torch.arange(unit.steps.shape[1])[None, :] >= unit.lengths[:, None]
        assert not unit.steps[behind].any() and unit.lengths.min() >= 1


def test_a_canary_without_company_is_alone(cases: SequenceBatch) -> None:
    assert [scene.name for scene in scenes(cases, [], torch.Generator())] == ["alone"]

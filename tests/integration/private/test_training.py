"""Private training does what its plan says: whose gradients, clipped how, with what noise, and no more."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from client import private_training
from client.private_training import PrivateOutcome, train_privately
from client.trainer import LocalPlan, mean_loss
from common.errors import LayerNotPrivate, ModelDiverged
from common.learning import learning_of
from common.models import SequenceClassifier, build_model, initial_weights, load_state, state_of
from common.private.plan import PrivacyPlan, plan_of
from common.private.secret import Secret
from common.sequences import SequenceBatch
from common.study import Study
from common.weights import norm, subtract

MakeStudy = Callable[..., Study]
Arrays = dict[str, Any]
UNITS = 8
GROUPS = torch.tensor([0, 1, 1, 2, 2, 2, 3, 4, 4, 5, 6, 6, 6, 6, 6, 7])


@pytest.fixture(scope="module")
def cases() -> SequenceBatch:
    """Sixteen cases of eight patients; class 1 is bright in the first half of its steps."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(16) % 2
    steps = 0.3 * torch.randn(16, 8, 8, generator=generator)
    steps[labels == 1, :4] += 1.0
    steps[labels == 0, 4:] += 1.0
    return SequenceBatch(steps, torch.tensor([8, 5] * 8), labels)


@pytest.fixture(scope="module")
def one_step(make_study: MakeStudy) -> MakeStudy:
    """A study whose round is one step of SGD over all units, each with all its cases."""

    def make(
        privacy: dict[str, Any] | None = None, model: dict[str, Any] | None = None, **training: Any
    ) -> Study:
        changes = {"noise_multiplier": 1.0, "sample_rate": 1.0, "max_cases_per_patient": 10, "clip_norm": 0.4}
        return make_study(
            model=model or {},
            training={"optimizer": "sgd", "learning_rate": 1.0, **training},
            privacy={**changes, **(privacy or {})},
        )

    return make


def model_of(study: Study) -> SequenceClassifier:
    model = build_model(study)
    load_state(model, initial_weights(study, 0))
    return model


def quiet(plan: PrivacyPlan) -> PrivacyPlan:
    """The plan without noise on the gradients."""
    return replace(plan, gradient_noise_multiplier=0.0)


def update(
    study: Study,
    cases: SequenceBatch,
    plan: PrivacyPlan,
    groups: torch.Tensor = GROUPS,
    seed: int = 1,
    **local: Any,
) -> Arrays:
    """What training changes."""
    model = model_of(study)
    train_privately(
        model,
        cases,
        groups,
        plan,
        LocalPlan.of(study, 0.0, 0, **local),
        Secret.seeded(seed),
    )
    return subtract(state_of(model), initial_weights(study, 0))


def clipped_mean(study: Study, cases: SequenceBatch, clip_norm: float) -> Arrays:
    """Sum of the units' clipped gradients over the number of units, one record at a time by autograd."""
    model = model_of(study).train()
    total: Arrays = {name: np.zeros(p.shape) for name, p in model.named_parameters()}
    for unit in range(UNITS):
        model.zero_grad()
        own = (unit == GROUPS).nonzero().squeeze(1)
        for case in own.split(1):
            batch = cases.take(case)
            (cross_entropy(model(batch.steps, batch.lengths), batch.targets) / len(own)).backward()
        gradient = {
            name: p.grad.double().numpy() for name, p in model.named_parameters() if p.grad is not None
        }
        length = math.sqrt(sum((array**2).sum() for array in gradient.values()))
        for name, array in gradient.items():
            total[name] += array * min(1.0, clip_norm / length)
    return {name: array / UNITS for name, array in total.items()}


def assert_close(found: Arrays, expected: Arrays, atol: float = 2e-6) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=atol, err_msg=name)


def scaled(arrays: Arrays, factor: float) -> Arrays:
    return {name: factor * array for name, array in arrays.items()}


@pytest.mark.parametrize("clip_norm", [0.05, 0.6, 100.0])
def test_a_step_is_the_mean_of_whole_units_clipped_gradients(
    one_step: MakeStudy, cases: SequenceBatch, clip_norm: float
) -> None:
    study = one_step({"clip_norm": clip_norm})
    found = update(study, cases, quiet(plan_of(study, UNITS)))
    assert_close(found, scaled(clipped_mean(study, cases, clip_norm), -1))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_no_unit_moves_the_sum_by_more_than_the_clip_norm(
    one_step: MakeStudy, cases: SequenceBatch, cell: str
) -> None:
    study = one_step({"clip_norm": 0.4}, {"cell": cell})
    plan = quiet(plan_of(study, UNITS))
    whole = update(study, cases, plan)
    moved = []
    for unit in range(UNITS):
        kept = (unit != GROUPS).nonzero().squeeze(1)
        without = update(study, cases.take(kept), plan, GROUPS[kept])
        moved.append(norm(subtract(whole, without)) * UNITS)
    assert max(moved) <= 0.4 * (1 + 1e-5)
    assert max(moved) > 0.39  # some gradients are longer, so clipping was at work


@pytest.mark.parametrize("most", [1, 3, 7])
def test_a_batch_may_go_through_the_model_in_parts(
    one_step: MakeStudy, cases: SequenceBatch, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = one_step()
    plan = quiet(plan_of(study, UNITS))
    whole = update(study, cases, plan)
    sizes = []
    forward = SequenceClassifier.forward

    def watched(self: SequenceClassifier, steps: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        sizes.append(len(steps))
        return forward(self, steps, lengths)

    monkeypatch.setattr(SequenceClassifier, "forward", watched)
    monkeypatch.setattr(private_training, "CHUNK_CASES", most)
    assert_close(update(study, cases, plan), whole)
    assert sum(sizes) == 16
    assert all(size <= max(most, 5) for size in sizes)  # a patient with five cases stays whole
    assert len(sizes) >= 16 // max(most, 5)


def test_a_batch_is_divided_by_its_bytes_too(
    one_step: MakeStudy, cases: SequenceBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = one_step()
    plan = quiet(plan_of(study, UNITS))
    whole = update(study, cases, plan)
    monkeypatch.setattr(private_training, "CHUNK_BYTES", 1)
    assert_close(update(study, cases, plan), whole)


@pytest.mark.parametrize("secure", [False, True])
def test_the_noise_of_a_round_has_the_variance_that_is_accounted(
    one_step: MakeStudy, cases: SequenceBatch, secure: bool
) -> None:
    # Nobody is ever drawn: what is left is the noise of 100 empty batches.
    privacy = {"sample_rate": 0.01, "secure_noise": secure, "noise_multiplier": 2.0, "clip_norm": 0.3}
    study = one_step(privacy, {"hidden": 16})
    plan = replace(plan_of(study, UNITS), sample_rate=1e-9)
    values = np.concatenate([array.ravel() for array in update(study, cases, plan).values()])
    variance = 100 * (2.0 * 0.3 / (1e-9 * UNITS)) ** 2
    assert abs(values.var() / variance - 1) < 4 * math.sqrt(2 / len(values))
    assert abs(values.mean()) < 4 * math.sqrt(variance / len(values))


def test_an_adaptive_clip_norm_puts_its_own_noise_on_the_gradients(
    one_step: MakeStudy, cases: SequenceBatch
) -> None:
    study = one_step({"clip_quantile": 0.5, "noise_multiplier": 1.0, "clip_norm": 0.3}, {"hidden": 16})
    plan = plan_of(study, UNITS)
    noise = subtract(update(study, cases, plan), update(study, cases, quiet(plan)))
    values = np.concatenate([array.ravel() for array in noise.values()])
    expected = (1.0 / 0.9) * (0.3 / UNITS) ** 2  # a tenth of the step's privacy is the count's
    assert plan.gradient_noise_multiplier**2 == pytest.approx(1 / 0.9)
    assert abs(values.var() / expected - 1) < 4 * math.sqrt(2 / len(values))


def test_the_clip_norm_follows_the_gradients(one_step: MakeStudy, cases: SequenceBatch) -> None:
    privacy = {"clip_quantile": 0.5, "clip_norm": 30.0, "clip_rate": 0.3}
    study = one_step(privacy, learning_rate=1e-9, local_epochs=80)
    plan = replace(plan_of(study, UNITS), gradient_noise_multiplier=0.0)
    assert plan.adaptive_clip is not None
    plan = replace(plan, adaptive_clip=replace(plan.adaptive_clip, count_noise=0.1))
    model = model_of(study)
    local = LocalPlan.of(study, 0.0, 0)
    outcome = train_privately(model, cases, GROUPS, plan, local, Secret.seeded(1))
    sizes = [norm(clipped_mean_of_unit(study, cases, unit)) for unit in range(UNITS)]
    assert sorted(sizes)[2] < outcome.clip_norm < sorted(sizes)[5]
    again = train_privately(model, cases, GROUPS, plan, local, Secret.seeded(2), outcome.clip_norm)
    assert again.clip_norm == pytest.approx(outcome.clip_norm, rel=0.5)


def clipped_mean_of_unit(study: Study, cases: SequenceBatch, unit: int) -> Arrays:
    """Gradient of one unit's mean loss."""
    model = model_of(study).train()
    batch = cases.take((unit == GROUPS).nonzero().squeeze(1))
    cross_entropy(model(batch.steps, batch.lengths), batch.targets).backward()
    return {name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}


def test_a_fixed_clip_norm_stays(one_step: MakeStudy, cases: SequenceBatch) -> None:
    study = one_step(local_epochs=3)
    model, local = model_of(study), LocalPlan.of(study, 0.0, 0)
    outcome = train_privately(model, cases, GROUPS, plan_of(study, UNITS), local, Secret.seeded(1))
    assert outcome == PrivateOutcome(steps=3, clip_norm=0.4)


def test_nothing_but_steps_and_clip_norm_is_told() -> None:
    assert [field.name for field in fields(PrivateOutcome)] == ["steps", "clip_norm"]


def test_a_step_looks_at_no_more_of_a_patients_cases_than_allowed(
    one_step: MakeStudy, cases: SequenceBatch
) -> None:
    study = one_step({"max_cases_per_patient": 1, "clip_norm": 100.0})
    groups, plan = torch.zeros(16, dtype=torch.int64), quiet(plan_of(study, 1))
    found = [norm(update(study, cases, plan, groups, seed)) for seed in range(6)]
    single = [norm(update(study, cases.take(torch.tensor([case])), plan, groups[:1])) for case in range(16)]
    assert all(min(abs(size - other) for other in single) < 1e-5 for size in found)
    assert len({round(size, 5) for size in found}) > 1  # chosen anew


def test_the_secret_decides_over_everything_random(one_step: MakeStudy, cases: SequenceBatch) -> None:
    study = one_step({"sample_rate": 0.5, "clip_quantile": 0.5, "max_cases_per_patient": 2}, {"dropout": 0.4})
    plan = plan_of(study, UNITS)
    torch.manual_seed(1)
    first = update(study, cases, plan, seed=5)
    torch.manual_seed(2)
    second = update(study, cases, plan, seed=5)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert norm(subtract(first, update(study, cases, plan, seed=6))) > 1e-3


def test_dropout_is_drawn_from_the_secret(one_step: MakeStudy, cases: SequenceBatch) -> None:
    study = one_step(model={"dropout": 0.5})
    plan = quiet(plan_of(study, UNITS))
    one, same, other = (update(study, cases, plan, seed=seed) for seed in (1, 1, 2))
    assert norm(subtract(one, same)) == 0
    assert norm(subtract(one, other)) > 1e-4


def test_a_secret_serves_one_task(one_step: MakeStudy, cases: SequenceBatch) -> None:
    study, secret = one_step(), Secret.seeded(1)
    model, plan, local = (
        model_of(study),
        plan_of(study, UNITS),
        LocalPlan.of(study, 0.0, 0),
    )
    train_privately(model, cases, GROUPS, plan, local, secret)
    with pytest.raises(ValueError, match="handed out before"):
        train_privately(model, cases, GROUPS, plan, local, secret)


def test_fedprox_adds_mu_times_the_distance_after_the_noise(
    one_step: MakeStudy, cases: SequenceBatch
) -> None:
    # Two steps: w1 = w0 - g(w0); w2 = w1 - (g(w1) + mu (w1 - w0)), the noise being the same for each mu.
    study, mu = one_step(local_epochs=2), 0.3
    plan = plan_of(study, UNITS)
    first = update(one_step(), cases, replace(plan, steps_per_round=1))
    free, held = (update(study, cases, plan, proximal_mu=weight) for weight in (0.0, mu))
    assert_close(held, {name: free[name] - mu * first[name] for name in free})


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_the_schedule_and_the_optimiser_are_the_studys(
    one_step: MakeStudy, cases: SequenceBatch, optimizer: str
) -> None:
    study = one_step(optimizer=optimizer, learning_rate=0.1, schedule="cosine")
    plan, sizes = quiet(plan_of(study, UNITS)), []
    for progress in (0.0, 0.5):
        model = model_of(study)
        train_privately(
            model,
            cases,
            GROUPS,
            plan,
            LocalPlan.of(study, progress, 0),
            Secret.seeded(1),
        )
        sizes.append(norm(subtract(state_of(model), initial_weights(study, 0))))
    assert sizes[1] / sizes[0] == pytest.approx(0.505, abs=0.01)


def test_bfloat16_gives_nearly_the_same_step(one_step: MakeStudy, cases: SequenceBatch) -> None:
    study = one_step()
    plan = quiet(plan_of(study, UNITS))
    exact = update(study, cases, plan)
    rough = update(one_step(precision="bfloat16"), cases, plan)
    assert 0 < norm(subtract(exact, rough)) < 0.05 * norm(exact)


def test_a_case_that_is_no_number_is_left_out(one_step: MakeStudy, cases: SequenceBatch) -> None:
    study = one_step()
    plan = quiet(plan_of(study, UNITS))
    broken = SequenceBatch(cases.steps.clone(), cases.lengths, cases.targets)
    broken.steps[GROUPS == 3] = float("nan")
    kept = (GROUPS != 3).nonzero().squeeze(1)
    assert_close(update(study, broken, plan), update(study, cases.take(kept), plan, GROUPS[kept]))


def test_a_model_that_diverges_is_refused(one_step: MakeStudy, cases: SequenceBatch) -> None:
    study = one_step({"noise_multiplier": 1000.0})
    local = LocalPlan(study.training.model_copy(update={"learning_rate": 1e38}), 0.0, 0, learning_of(study))
    plan = plan_of(study, UNITS)
    with pytest.raises(ModelDiverged, match="not finite"):
        train_privately(model_of(study), cases, GROUPS, plan, local, Secret.seeded(1))


def test_a_layer_that_mixes_cases_is_refused_before_training(
    one_step: MakeStudy, cases: SequenceBatch
) -> None:
    study = one_step()
    model = model_of(study)
    before = state_of(model)
    model.head = nn.Sequential(nn.BatchNorm1d(4), model.head)  # type: ignore[assignment]
    with pytest.raises(LayerNotPrivate, match="BatchNorm"):
        train_privately(
            model,
            cases,
            GROUPS,
            plan_of(study, UNITS),
            LocalPlan.of(study, 0.0, 0),
            Secret.seeded(1),
        )
    assert all(np.array_equal(before[n], p.detach()) for n, p in model.named_parameters() if n in before)


def test_units_that_are_not_those_of_the_cases_are_refused(one_step: MakeStudy, cases: SequenceBatch) -> None:
    study = one_step()
    plan, local = plan_of(study, UNITS), LocalPlan.of(study, 0.0, 0)
    for groups, message in ((GROUPS[:5], "5 units for 16 cases"), (GROUPS + 1, "from 0 to 7")):
        with pytest.raises(ValueError, match=message):
            train_privately(model_of(study), cases, groups, plan, local, Secret.seeded(1))


@pytest.mark.parametrize("encoder", ["none", "cnn"])
def test_a_separable_set_is_learnt(make_study: MakeStudy, cases: SequenceBatch, encoder: str) -> None:
    study = make_study(
        model={"encoder": encoder},
        training={"optimizer": "sgd", "learning_rate": 2.0, "local_epochs": 15},
        privacy={"noise_multiplier": 0.3, "sample_rate": 0.25, "clip_norm": 0.5},
    )
    many, model = SequenceBatch.concatenate([cases] * 8), model_of(study)
    groups = torch.cat([GROUPS + UNITS * copy for copy in range(8)])
    plan = plan_of(study, 8 * UNITS)
    outcome = train_privately(model, many, groups, plan, LocalPlan.of(study, 0.0, 0), Secret.seeded(1))
    assert outcome.steps == 60
    assert mean_loss(model, many, learning_of(study)) < 0.35

"""Local training is a function of task and seed, and does what its options say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from client.trainer import LocalPlan, mean_loss, predict, train
from common.learning import learning_of
from common.models import SequenceClassifier, build_model, initial_weights, load_state, state_of
from common.sequences import SequenceBatch
from common.study import Study
from common.weights import norm, subtract

MakeStudy = Callable[..., Study]
Arrays = dict[str, Any]


@pytest.fixture(scope="module")
def cases() -> SequenceBatch:
    """Twenty separable cases: class 1 is bright in the first half of its steps."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(20) % 2
    steps = 0.3 * torch.randn(20, 8, 8, generator=generator)
    steps[labels == 1, :4] += 1.0
    steps[labels == 0, 4:] += 1.0
    return SequenceBatch(steps, torch.full((20,), 8), labels)


def model_of(study: Study) -> SequenceClassifier:
    model = build_model(study)
    load_state(model, initial_weights(study, 0))
    return model


def update(
    study: Study,
    cases: SequenceBatch,
    seed: int = 1,
    progress: float = 0.0,
    class_weights: tuple[float, ...] = (),
    **plan: Any,
) -> Arrays:
    """What training changes."""
    model = model_of(study)
    train(model, cases, LocalPlan.of(study, progress, seed, class_weights, **plan))
    return subtract(state_of(model), initial_weights(study, 0))


def one_step(make_study: MakeStudy, **training: Any) -> Study:
    """A study whose round is one step of SGD over all cases."""
    return make_study(training={"optimizer": "sgd", "learning_rate": 0.1, "batch_size": 64, **training})


def gradient(study: Study, cases: SequenceBatch, weight: torch.Tensor | None = None) -> Arrays:
    """Gradient of the mean loss over all cases at the base model."""
    model = model_of(study)
    cross_entropy(model(cases.steps, cases.lengths), cases.targets, weight=weight).backward()
    return {name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}


def assert_close(found: Arrays, expected: Arrays) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("model", [{}, {"dropout": 0.4, "layers": 2}], ids=["plain", "dropout"])
def test_the_same_seed_gives_the_same_update(
    make_study: MakeStudy, cases: SequenceBatch, model: dict[str, Any]
) -> None:
    study = make_study(model=model)
    torch.manual_seed(1)
    first = update(study, cases, seed=5)
    torch.manual_seed(2)
    second = update(study, cases, seed=5)
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_another_seed_gives_another_update(make_study: MakeStudy, cases: SequenceBatch) -> None:
    first, second = (update(make_study(), cases, seed=seed) for seed in (1, 2))
    assert norm(subtract(first, second)) > 1e-4


def test_the_seed_decides_over_dropout(make_study: MakeStudy, cases: SequenceBatch) -> None:
    study = one_step(make_study)  # one batch: the order of the cases cannot matter
    dropping = study.model_copy(update={"model": study.model.model_copy(update={"dropout": 0.5})})
    assert norm(subtract(update(study, cases, seed=1), update(study, cases, seed=2))) < 1e-6
    assert norm(subtract(update(dropping, cases, seed=1), update(dropping, cases, seed=2))) > 1e-4


def test_one_step_of_sgd_is_the_gradient(make_study: MakeStudy, cases: SequenceBatch) -> None:
    study = one_step(make_study)
    assert_close(update(study, cases), {n: -0.1 * g for n, g in gradient(study, cases).items()})


def test_class_weights_weigh_the_loss(make_study: MakeStudy, cases: SequenceBatch) -> None:
    study, weights = one_step(make_study), (0.2, 1.8)
    expected = gradient(study, cases, torch.tensor(weights))
    assert_close(update(study, cases, class_weights=weights), {n: -0.1 * g for n, g in expected.items()})
    assert norm(subtract(expected, gradient(study, cases))) > 1e-3


def test_fedprox_adds_mu_times_the_distance_to_the_gradient(
    make_study: MakeStudy, cases: SequenceBatch
) -> None:
    # Two steps over all cases: w1 = w0 - a g(w0); w2 = w1 - a (g(w1) + mu (w1 - w0)).
    study, mu = one_step(make_study, local_epochs=2), 3.0
    free = update(study, cases)
    first = update(one_step(make_study), cases)
    held = update(study, cases, proximal_mu=mu)
    assert_close(held, {name: free[name] - 0.1 * mu * first[name] for name in free})


def test_fedprox_holds_the_model_near_its_base(make_study: MakeStudy, cases: SequenceBatch) -> None:
    study = make_study(training={"optimizer": "sgd", "learning_rate": 0.05, "local_epochs": 10})
    norms = [norm(update(study, cases, proximal_mu=mu)) for mu in (0.0, 0.1, 1.0, 10.0)]
    assert norms == sorted(norms, reverse=True)
    assert norms[-1] < norms[0] / 5


def test_fedprox_does_not_count_in_the_loss_that_is_told(make_study: MakeStudy, cases: SequenceBatch) -> None:
    study = make_study(training={"local_epochs": 5})
    losses = [
        train(model_of(study), cases, LocalPlan.of(study, 0.0, 1, proximal_mu=mu)).loss for mu in (0.0, 1e4)
    ]
    assert losses[0] < losses[1] < 1.0


def test_cosine_takes_the_learning_rate_from_all_to_a_hundredth(
    make_study: MakeStudy, cases: SequenceBatch
) -> None:
    study = one_step(make_study, schedule="cosine")
    full = norm(gradient(study, cases)) * 0.1
    shares = [norm(update(study, cases, progress=progress)) / full for progress in (0.0, 0.5, 1.0)]
    assert shares == pytest.approx([1.0, 0.505, 0.01], abs=1e-4)


def test_a_constant_schedule_ignores_the_progress(make_study: MakeStudy, cases: SequenceBatch) -> None:
    first, last = (update(one_step(make_study), cases, progress=progress) for progress in (0.0, 0.9))
    assert_close(first, last)


def test_a_gradient_is_clipped_to_its_norm(make_study: MakeStudy, cases: SequenceBatch) -> None:
    true = norm(gradient(one_step(make_study), cases))
    clipped = update(one_step(make_study, clip_grad_norm=true / 10), cases)
    assert norm(clipped) == pytest.approx(0.1 * true / 10, rel=1e-4)
    assert_close(clipped, {n: a / 10 for n, a in update(one_step(make_study), cases).items()})
    assert_close(
        update(one_step(make_study, clip_grad_norm=true * 10), cases), update(one_step(make_study), cases)
    )


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_weight_decay_shrinks_the_weights(
    make_study: MakeStudy, cases: SequenceBatch, optimizer: str
) -> None:
    def size(decay: float) -> float:
        study = make_study(training={"optimizer": optimizer, "weight_decay": decay, "local_epochs": 8})
        model = model_of(study)
        train(model, cases, LocalPlan.of(study, 0.0, 1))
        return norm(state_of(model))

    assert size(1.0) < size(0.0) * 0.99


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
@pytest.mark.parametrize("encoder", ["none", "cnn"])
def test_a_separable_set_is_learnt(
    make_study: MakeStudy, cases: SequenceBatch, cell: str, encoder: str
) -> None:
    study = make_study(
        model={"cell": cell, "encoder": encoder, "hidden": 8},
        training={"local_epochs": 20, "learning_rate": 0.02},
    )
    model = model_of(study)
    before = mean_loss(model, cases, learning_of(study))
    told = train(model, cases, LocalPlan.of(study, 0.0, 1)).loss
    assert (predict(model, cases).argmax(dim=1) == cases.targets).all()
    assert told < before
    assert mean_loss(model, cases, learning_of(study)) < 0.2


def test_every_case_counts_in_an_epoch(make_study: MakeStudy, cases: SequenceBatch) -> None:
    # With a learning rate near zero, the mean over equal batches is the base model's loss on all cases.
    study = make_study(training={"batch_size": 4, "learning_rate": 1e-12})
    model = model_of(study)
    told = train(model, cases, LocalPlan.of(study, 0.0, 1)).loss
    assert told == pytest.approx(mean_loss(model_of(study), cases, learning_of(study)), abs=1e-5)


def test_prediction_is_by_case_and_without_dropout(make_study: MakeStudy, cases: SequenceBatch) -> None:
    model = model_of(make_study(model={"dropout": 0.9}))
    model.train()
    scores = predict(model, cases)
    assert scores.shape == (20, 2)
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(20))
    torch.testing.assert_close(predict(model, cases), scores, rtol=0, atol=0)
    order = torch.arange(19, -1, -1)
    torch.testing.assert_close(predict(model, cases.take(order)), scores[order])


def test_prediction_of_many_cases_goes_by_batches(make_study: MakeStudy, cases: SequenceBatch) -> None:
    model, many = model_of(make_study()), SequenceBatch.concatenate([cases] * 30)
    torch.testing.assert_close(predict(model, many), predict(model, cases).repeat(30, 1))


def test_no_cases_have_no_scores(make_study: MakeStudy, cases: SequenceBatch) -> None:
    nobody = cases.take(torch.zeros(0, dtype=torch.int64))
    assert predict(model_of(make_study()), nobody).shape == (0, 2)


# Work by time


class Clock:
    """Seconds that pass with every look at them, or as they are told to."""

    def __init__(self, step_s: float) -> None:
        self.now_s, self._step_s = 0.0, step_s

    def __call__(self) -> float:
        self.now_s += self._step_s
        return self.now_s


def by_time(make_study: MakeStudy, work_s: float, step_s: float) -> tuple[Study, Clock]:
    return make_study(training={"work_s": work_s, "batch_size": 6}, federation={"deadline_s": 1e9}), Clock(
        step_s
    )


@pytest.mark.parametrize(
    ("work_s", "step_s", "steps"), [(10.0, 1.0, 10), (10.0, 3.0, 4), (10.0, 11.0, 1), (10.0, 1e6, 1)]
)
def test_work_by_time_ends_with_the_batch_at_which_the_time_is_over(
    make_study: MakeStudy, cases: SequenceBatch, work_s: float, step_s: float, steps: int
) -> None:
    study, clock = by_time(make_study, work_s, step_s)
    trained = train(model_of(study), cases, LocalPlan.of(study, 0.0, 1), clock=clock)
    assert trained.steps == steps


def test_work_by_time_is_as_many_epochs_as_there_is_time_for(
    make_study: MakeStudy, cases: SequenceBatch
) -> None:
    study, clock = by_time(make_study, 8.0, 1.0)  # twenty cases are four batches of six: two epochs
    model, other = model_of(study), model_of(study)
    trained = train(model, cases, LocalPlan.of(study, 0.0, 1), clock=clock)
    epochs = make_study(training={"local_epochs": 2, "batch_size": 6})
    assert trained == train(other, cases, LocalPlan.of(epochs, 0.0, 1))
    assert norm(subtract(state_of(model), state_of(other))) == 0.0

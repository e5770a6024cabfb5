"""The audit passes the engine as it is, and convicts engines that are broken on purpose."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from common.models import SequenceClassifier
from common.private.bookkeeping import Bookkeeper
from common.private.noise import NoisyOptimizer
from common.private.plan import plan_of
from common.private.scans.course import Course
from common.sequences import SequenceBatch
from common.study import Study
from deploy.attack.canaries import Effort, look
from deploy.attack.finding import Claim, Finding, Verdict
from deploy.attack.subject import Subject, without_dropout

PATIENTS, LONG = 20, 8
UNBOUNDED = 1e9
ENGINE, STEPS = Effort(choosing=100, releases=2000), Effort(choosing=10, releases=60)
HARDLY = Effort(choosing=5, releases=10)
ENGINE_ALONE, TRAINING = "deploy.attack.releases", "client.private_training"


class Unclipped(Bookkeeper):
    """Every factor is 1."""

    def clipped_sum(self, losses: Any, units: torch.Tensor, count: int, clip_norm: float) -> torch.Tensor:
        return super().clipped_sum(losses, units, count, UNBOUNDED)


class HalvedNoise(NoisyOptimizer):
    """Half the noise that is asked for."""

    def __init__(self, optimizer: torch.optim.Optimizer, *, noise_multiplier: float, **options: Any) -> None:
        super().__init__(optimizer, noise_multiplier=noise_multiplier / 2, **options)


class NoNoiseForNobody(NoisyOptimizer):
    """A batch without anybody is taken for one that needs no noise."""

    def add_noise(self) -> None:
        super().add_noise()
        if not any(parameter.summed_grad.any() for parameter in self.params):
            for parameter in self.params:
                parameter.grad = parameter.summed_grad.clone()


class FactorsInSortedOrder(Bookkeeper):
    """Factors stand in the order of a packed batch, longest first; gradients in the order of the records."""

    def __init__(self, model: SequenceClassifier) -> None:
        super().__init__(model)
        self._lengths = torch.zeros(0)
        self._seeing = model.register_forward_pre_hook(self._see)

    def _see(self, model: torch.nn.Module, inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
        self._lengths = inputs[1]

    def close(self) -> None:
        self._seeing.remove()
        super().close()

    def clipped_sum(self, losses: Any, units: torch.Tensor, count: int, clip_norm: float) -> torch.Tensor:
        before = [weight.grad for weight in self._model.parameters()]
        for weight in self._model.parameters():
            weight.grad = None
        norms = super().clipped_sum(losses, units, count, UNBOUNDED)
        if not len(units):
            return norms
        for weight, grad in zip(self._model.parameters(), before, strict=True):
            weight.grad = grad
        factors = (clip_norm / norms).clamp(max=1)[units]
        sorted_factors = factors[self._lengths.argsort(descending=True, stable=True)]
        super().clipped_sum(lambda: losses() * sorted_factors, units, count, UNBOUNDED)
        return norms


@pytest.fixture(scope="module")
def subject(study: Callable[..., Study]) -> Subject:
    """A site of twenty patients, some of whom have two cases, with cases of different brightness."""
    private = study(
        privacy={"noise_multiplier": 1.0, "clip_norm": 0.1, "sample_rate": 1.0, "accountant": "rdp"},
        training={"optimizer": "sgd", "learning_rate": 0.05},
    )
    draw = torch.Generator().manual_seed(0)
    units = torch.cat([torch.arange(PATIENTS), torch.arange(5)])
    labels = units % 2
    steps = torch.randn(len(units), LONG, LONG, generator=draw) + labels[:, None, None]
    cases = SequenceBatch(steps, torch.full((len(units),), LONG), labels)
    plan = plan_of(private, PATIENTS)
    return Subject(private, plan, Claim.of(plan), "alder", cases, units, cases, units, seed=0)


@pytest.fixture(scope="module")
def states(subject: Subject) -> dict[str, SequenceClassifier]:
    """The model at the start, and as the right engine trains it."""
    training = subject.training(subject.train, subject.units, PATIENTS, "states")
    first, *_, last = (without_dropout(copy.deepcopy(model)) for model in training)
    return {"at the start": first, "at the end": last}


def convicted(subject: Subject, states: dict[str, SequenceClassifier]) -> Finding:
    """The first finding that contradicts the claim."""
    found = look(subject, states, ENGINE, STEPS)
    return next(finding for finding in found if finding.verdict is Verdict.violated)


def test_the_engine_as_it_is_passes(subject: Subject, states: dict[str, SequenceClassifier]) -> None:
    engine, steps = look(subject, states, ENGINE, Effort(choosing=20, releases=150))
    for finding, nearly in ((engine, 0.75), (steps, 0.3)):
        assert finding.verdict is Verdict.not_violated
        assert nearly < finding.figures["mu_at_least"] <= 1.0  # and the attack is no idle one
        assert finding.figures["canary_reach"] > 1
        assert 0 < finding.epsilon < subject.claim.epsilon < finding.visible


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("Bookkeeper", Unclipped),
        ("NoisyOptimizer", HalvedNoise),
        pytest.param("NoisyOptimizer", NoNoiseForNobody, marks=pytest.mark.slow),
        pytest.param("Bookkeeper", FactorsInSortedOrder, marks=pytest.mark.slow),
    ],
    ids=["clipping off", "noise halved", "no noise for an empty batch", "packed order"],
)
def test_a_broken_engine_is_convicted(
    subject: Subject,
    states: dict[str, SequenceClassifier],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    engine: type,
) -> None:
    for place in (ENGINE_ALONE, TRAINING):
        monkeypatch.setattr(f"{place}.{name}", engine)
    assert convicted(subject, states).epsilon > subject.claim.epsilon


@pytest.mark.slow
def test_rows_that_stay_sorted_are_convicted(
    subject: Subject, states: dict[str, SequenceClassifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The defect as Opacus 1.6 has it: the recurrent layer's gradients stay in the order of the packed
    # sequence, those of the head are in the order of the records, and one factor meets parts of two records.
    monkeypatch.setattr(Course, "records", lambda self, buffer: buffer.transpose(0, 1))
    finding = convicted(subject, states)
    assert "ragged batch" in finding.observed and finding.epsilon > subject.claim.epsilon


@pytest.mark.parametrize(
    ("name", "engine"),
    [("Bookkeeper", Unclipped), ("NoisyOptimizer", NoNoiseForNobody)],
)
@pytest.mark.slow
def test_an_engine_that_training_does_not_use_saves_nobody(
    subject: Subject,
    states: dict[str, SequenceClassifier],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    engine: type,
) -> None:
    # Clipping and noise are right where they are looked at alone, and wrong where training uses them.
    monkeypatch.setattr(f"{TRAINING}.{name}", engine)
    alone, steps = look(subject, states, HARDLY, Effort(choosing=40, releases=250))
    assert alone.verdict is Verdict.not_violated
    assert steps.verdict is Verdict.violated

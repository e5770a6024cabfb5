"""A risk is learnt from records of different length, and is known better the more of a record is seen."""

from __future__ import annotations

import math

import pytest
import torch

from client.private_training import train_privately
from client.trainer import LocalPlan, evaluated, train
from common.learning import learning_of
from common.metrics import RiskSums
from common.models import build_model, initial_weights, load_state
from common.private.plan import plan_of
from common.private.secret import Secret
from common.sequences import SequenceBatch
from common.study import Study, parse_study


def records(count: int, seed: int) -> SequenceBatch:
    """A variable that drifts away in those with the event, sooner in those in whom it comes sooner."""
    generator = torch.Generator().manual_seed(seed)
    event = (torch.arange(count) % 4 == 0).float()
    time = torch.randint(1, 10, (count,), generator=generator).float()
    lengths = torch.randint(6, 17, (count,), generator=generator)
    hour = torch.arange(16.0)
    drift = event[:, None] * hour / (6 + time[:, None])
    value = drift + 0.7 * torch.randn(count, 16, generator=generator)
    measured = (torch.rand(count, 16, generator=generator) < 0.7).float()
    steps = torch.stack([value * measured, measured, torch.ones(count, 16)], dim=2)
    own = torch.arange(16) < lengths[:, None]
    return SequenceBatch(steps * own.unsqueeze(2), lengths, torch.stack([event, time], dim=1))


@pytest.fixture(scope="module")
def study() -> Study:
    return parse_study(
        {
            "study": {"name": "drift", "task": "risk", "labels": {"0": "stable", "1": "event"}},
            "sequence": {"kind": "steps", "variables": {"HR": {"centre": 0.0, "scale": 1.0}}},
            "model": {"hidden": 16},
            "training": {"learning_rate": 0.01, "local_epochs": 6, "batch_size": 16},
        }
    )


def counted(study: Study, cases: SequenceBatch, plan: LocalPlan) -> RiskSums:
    model = build_model(study)
    load_state(model, initial_weights(study, 0))
    train(model, cases, plan)
    found = evaluated(model, records(200, seed=1), learning_of(study), RiskSums.none(2), keep=True)
    assert isinstance(found, RiskSums)
    return found


def test_it_is_told_the_better_the_more_is_seen(study: Study) -> None:
    sums = counted(study, records(200, seed=0), LocalPlan.of(study, 0.0, 1))
    sums.check(2)
    found = sums.figures(study.study.classes)
    prevalence = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert found["loss"] < prevalence - 0.1
    assert found["auroc"] > 0.85 and found["auprc"] > 0.6
    assert found["auroc_quarter"] < found["auroc_half"] < found["auroc"]
    assert found["concordance"] > 0.75
    assert found["sensitivity_strict"] > 0.6


def test_weights_of_outcomes_move_the_threshold(study: Study) -> None:
    cases = records(200, seed=0)
    plain, weighted = (
        counted(study, cases, LocalPlan.of(study, 0.0, 1, weights)).figures(study.study.classes)
        for weights in ((), (1.0, 6.0))
    )
    assert weighted["recall"] > plain["recall"]


def test_it_learns_privately_too() -> None:
    private = parse_study(
        {
            "study": {"name": "drift", "task": "risk", "labels": {"0": "stable", "1": "event"}},
            "sequence": {"kind": "steps", "variables": {"HR": {"centre": 0.0, "scale": 1.0}}},
            "model": {"hidden": 16},
            "training": {"learning_rate": 1.0, "local_epochs": 10, "optimizer": "sgd"},
            "privacy": {"noise_multiplier": 0.5, "sample_rate": 0.2, "clip_norm": 0.5},
            "federation": {"rounds": 1},
        }
    )
    cases, model = records(300, seed=0), build_model(private)
    load_state(model, initial_weights(private, 0))
    plan, local = plan_of(private, 300), LocalPlan.of(private, 0.0, 0)
    train_privately(model, cases, torch.arange(300), plan, local, Secret.seeded(1))
    found = evaluated(model, records(200, seed=1), learning_of(private), RiskSums.none(2), keep=True)
    assert found.figures(private.study.classes)["auroc"] > 0.85

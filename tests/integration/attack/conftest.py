"""A small site to attack, and an audit of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from common.private.plan import plan_of
from common.sequences import SequenceBatch
from common.study import Study
from deploy.attack.attack import Audit, attack
from deploy.attack.canaries import Effort
from deploy.attack.finding import Claim
from deploy.attack.subject import Subject
from tests.unit.conftest import hospitals, make_study

__all__ = ["hospitals", "make_study"]  # fixtures of the unit tests
PATIENTS = 12


@pytest.fixture(scope="session")
def subject(study: Callable[..., Study]) -> Subject:
    """Twelve patients, of whom three have two cases, and six to test on; cases differ in length."""
    private = study(
        privacy={"noise_multiplier": 1.0, "sample_rate": 0.5, "accountant": "rdp"},
        training={"optimizer": "sgd", "learning_rate": 0.05},
    )
    draw = torch.Generator().manual_seed(0)

    def cases(units: torch.Tensor) -> SequenceBatch:
        lengths = torch.randint(4, 9, (len(units),), generator=draw)
        steps = torch.randn(len(units), 8, 8, generator=draw)
        steps[torch.arange(8)[None, :] >= lengths[:, None]] = 0.0
        return SequenceBatch(steps, lengths, units % 2)

    units, test_units = torch.cat([torch.arange(PATIENTS), torch.arange(3)]), torch.arange(6)
    plan = plan_of(private, PATIENTS)
    train, test = cases(units), cases(test_units)
    return Subject(private, plan, Claim.of(plan), "alder", train, units, test, test_units, seed=3)


@pytest.fixture(scope="session")
def attacked(subject: Subject) -> tuple[Audit, list[str]]:
    """All attacks on it, with hardly any effort, and what was told meanwhile."""
    told: list[str] = []
    return attack(subject, 2, told.append, Effort(5, 20), Effort(3, 10)), told


@pytest.fixture(scope="session")
def audit(attacked: tuple[Audit, list[str]]) -> Audit:
    """The audit alone."""
    return attacked[0]

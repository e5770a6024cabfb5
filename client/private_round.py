"""One task of a private study at a site: pay first, then train, then say what was done.

Invariants: nothing is trained before its cost is on the disk, and nothing is sent before it is settled there.
What leaves the site was either under the noise, or is public, or is named in docs/privacy.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from client.ledger import Budget, Ledger, Purpose, Reservation, Task, Unit
from client.private_training import train_privately
from client.site import Site
from client.trainer import LocalPlan
from common.errors import LedgerMissing, TaskInvalid
from common.metrics import EvaluationSums
from common.models import SequenceClassifier
from common.private.accounting import epsilon_of
from common.private.counts import noised_sums
from common.private.plan import evaluation_plan_of, plan_of
from common.private.secret import Secret
from common.sequences import Cases
from common.study import Study, digest
from common.tasks import EvaluateTask, TrainTask


@dataclass(frozen=True, slots=True)
class Spent:
    """What a round of private training cost, in the words of :class:`common.update.Contribution`.

    ``cases`` is the number of units. With that weight the noise of all sites is the same in the sum.
    """

    cases: int
    epsilon: float
    target_delta: float
    clip_norm: float | None
    ledger_head: str


def train_round_privately(
    site: Site,
    task: TrainTask,
    study: Study,
    model: SequenceClassifier,
    cases: Cases,
    units: torch.Tensor,
    local: LocalPlan,
) -> Spent:
    """Train ``model`` in place as the study's privacy asks, and say what that cost.

    Args:
        site: Whose ledger pays.
        task: What is asked.
        study: The task's study.
        model: Holds the base model's weights, on the device of ``cases``.
        cases: The site's training cases.
        units: (N,) int64, number of the unit that each case belongs to.
        local: The round's place in the study's schedule.

    Raises:
        BudgetSpent: The hospital's budget does not allow this round; nothing was trained.
        LedgerMissing, LedgerBroken, LedgerRolledBack: There is no ledger that can be relied on.
        ReservationClosed: Another process has sent this round's update.
    """
    ledger = ledger_of(site)
    ledger.check(task.ledger_head)
    count = int(units.max()) + 1
    plan = plan_of(study, count)
    known = digest(study)
    _check_round(task, study)
    paid = _paid(site, study, task, "training", plan.unit)
    most = plan.rounds * plan.steps_per_round
    reservation = ledger.reserve(paid, plan.round_event(), plan.target_delta, most_steps=most)
    before = ledger.last_clip_norm(known)
    secret = secret_of(site, "training", task.round)
    with _spent_whole_on_failure(ledger, reservation):
        outcome = train_privately(model, cases, units, plan, local, secret, clip_norm=before)
    adapted = outcome.clip_norm if plan.adaptive_clip is not None else None
    ledger.settle(reservation, outcome.steps, adapted)
    spent = epsilon_of(ledger.study_events(known, "training"), plan.target_delta, plan.accountant)
    return Spent(count, spent, plan.target_delta, adapted, ledger.head)


def evaluate_privately(
    site: Site,
    task: EvaluateTask,
    study: Study,
    predicted: Callable[[], torch.Tensor],
    labels: NDArray[Any],
    units: torch.Tensor,
) -> EvaluationSums:
    """Counts of the site's test cases under the noise of ``evaluation_epsilon``, paid from its ledger.

    Args:
        site: Whose ledger pays.
        task: What is asked.
        study: The task's study.
        predicted: Gives (N, C) class probabilities of the test cases; asked once they are paid for, since
            also how it fails would tell of them.
        labels: (N,) their classes.
        units: (N,) int64, number of the unit that each case belongs to.

    Raises:
        BudgetSpent: The hospital's budget does not allow this evaluation.
        LedgerMissing, LedgerBroken, LedgerRolledBack: There is no ledger that can be relied on.
        ReservationClosed: Another process has sent these counts.
    """
    plan = evaluation_plan_of(study, int(units.max()) + 1)
    assert plan is not None  # noqa: S101  the study has an evaluation_epsilon
    _check_round(task, study)
    ledger = ledger_of(site)
    paid = _paid(site, study, task, "evaluation", plan.unit)
    reservation = ledger.reserve(paid, plan.event(), plan.target_delta, most_steps=plan.evaluations)
    with _spent_whole_on_failure(ledger, reservation):
        scores = predicted().numpy()
        sums = noised_sums(scores, labels, units.numpy(), plan, secret_of(site, "evaluation", task.round))
    ledger.settle(reservation, 1)
    return sums


def _check_round(task: TrainTask | EvaluateTask, study: Study) -> None:
    if not 1 <= task.round <= study.federation.rounds:
        raise TaskInvalid(f"round {task.round} of a study of {study.federation.rounds} rounds")


@contextmanager
def _spent_whole_on_failure(ledger: Ledger, reservation: Reservation) -> Iterator[None]:
    """What fails in the block is paid for whole: a refusal is an answer too, and tells of what was drawn.

    Only a process that was killed said nothing; its reservation stays open for the same task.
    """
    try:
        yield
    except Exception:
        ledger.settle(reservation, reservation.event.steps)
        raise


def _paid(site: Site, study: Study, task: TrainTask | EvaluateTask, purpose: Purpose, unit: Unit) -> Task:
    """What the ledger is told that a reservation is for."""
    return Task(
        study=study.study.name,
        study_digest=digest(study),
        round=task.round,
        base_digest=task.base_digest,
        cohort=site.cohort or site.name,
        fingerprint=site.fingerprint,
        purpose=purpose,
        unit=unit,
    )


def ledger_of(site: Site) -> Ledger:
    """The ledger that pays for the site's private training.

    Raises:
        LedgerMissing: It has none.
    """
    if site.ledger:
        budget = Budget(site.budget_epsilon, site.budget_delta) if site.budget_epsilon else None
        return Ledger(Path(site.ledger), budget)
    if not site.cohort:
        raise LedgerMissing(f"site {site.name!r} has a manifest and no ledger=... beside it")
    from client.cohorts.home import open_home

    return open_home(Path(site.home)).ledger(site.cohort)


def secret_of(site: Site, purpose: str, round_number: int) -> Secret:
    """What noise and sampling are drawn from: fresh for every task, or seeded in a simulation."""
    if site.noise_seed < 0:
        return Secret.fresh()
    return Secret.seeded(site.noise_seed, site.name, purpose, round_number)

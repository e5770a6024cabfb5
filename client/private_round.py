"""One task of a private study at a site: pay first, then train, keep what came out, settle, then send.

Invariants, whatever process ends at whatever moment:

- Nothing is trained before its cost is on the disk, and nothing is sent before it is settled there.
- Where the site has a place for it, an answer is on the disk before it is settled. So one that was paid for
  is not lost: asked again, the task gives the same answer, and nothing is trained or settled a second time.
- A reservation has one answer at most. What is done again before that is drawn from the same secret.

What leaves the site was either under the noise, or is public, or is named in docs/privacy.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from flwr.app import RecordDict
from numpy.typing import NDArray

from client.breakdown import tells_nothing
from client.cases import site_cases, unit_numbers
from client.checkpoints import Finished, TaskFolder
from client.ledger import Budget, Ledger, Purpose, Reservation, Task, Unit
from client.private_training import PrivateOutcome, train_privately
from client.site import Site
from client.workbench import Workbench
from common.errors import DiskFull, LedgerMissing, OutputUnwritable, TaskInvalid
from common.metrics import EvaluationSums
from common.private.accounting import epsilon_of
from common.private.counts import noised_sums
from common.private.plan import PrivacyPlan, evaluation_plan_of, plan_of
from common.private.secret import Secret
from common.study import Study, digest
from common.tasks import (
    EvaluateTask,
    Evaluation,
    TrainTask,
    contribution_content,
    evaluation_content,
    read_contribution,
    read_evaluation,
)
from common.update import Contribution

log = logging.getLogger("consilium.client")


def train_round_privately(
    site: Site, task: TrainTask, study: Study, folder: TaskFolder, prepared: Callable[[], Workbench]
) -> Contribution:
    """The contribution that training as the study's privacy asks gives, and what that cost.

    Its weight is the number of units: with that the noise of all sites is the same in the sum.

    Args:
        site: Whose ledger pays.
        task: What is asked.
        study: The task's study.
        folder: Where what outlives this process lies.
        prepared: Lays the task out; asked before it is paid for, and not where it is finished already.

    Raises:
        BudgetSpent: The hospital's budget does not allow this round; nothing was trained.
        LedgerMissing, LedgerBroken, LedgerRolledBack: There is no ledger that can be relied on.
        ReservationClosed: Another process has sent this round's update.
        DiskFull, OutputUnwritable: Ledger or answer cannot be written; nothing may be sent.
    """
    ledger = ledger_of(site)
    ledger.check(task.ledger_head)
    _check_round(task, study)
    kept = _settled(ledger, folder)
    if kept is not None:
        return _with_cost(read_contribution(kept.content), ledger, study)
    bench = prepared()
    units = _units(site, study)
    plan = plan_of(study, int(units.max()) + 1)
    paid, most = _paid(site, study, task, "training", plan.unit), plan.rounds * plan.steps_per_round
    reservation = ledger.reserve(paid, plan.round_event(), plan.target_delta, most_steps=most)
    with _spent_whole_on_failure(ledger, reservation, folder):
        outcome = _trained(
            bench, units, plan, task, folder, reservation, ledger.last_clip_norm(digest(study))
        )
        made = _contribution(bench, task, plan, outcome)
    content = partial(contribution_content, made)
    quicker = _kept_and_settled(ledger, folder, reservation, content, outcome.steps, made.clip_norm)
    return _with_cost(read_contribution(quicker.content) if quicker else made, ledger, study)


def _units(site: Site, study: Study) -> torch.Tensor:
    """(N,) int64, number of the unit that each training case belongs to."""
    assert study.privacy is not None  # noqa: S101  the study is private
    entries = site_cases(site.source.entries(study), site.name, study).train
    return unit_numbers(entries, study.privacy.unit)


def _trained(
    bench: Workbench,
    units: torch.Tensor,
    plan: PrivacyPlan,
    task: TrainTask,
    folder: TaskFolder,
    reservation: Reservation,
    clip_norm: float | None,
) -> PrivateOutcome:
    """What training on a reservation came to; it goes on where an earlier process was."""
    secret, kept = _secret(bench.site, "training", task.round, folder, reservation.id)
    checkpoints = bench.checkpoints(folder, reservation.id) if kept else None
    return train_privately(
        bench.model,
        bench.cases,
        units,
        plan,
        bench.plan,
        secret,
        clip_norm,
        checkpoints,
        moments=bench.moments,
    )


def _contribution(
    bench: Workbench, task: TrainTask, plan: PrivacyPlan, outcome: PrivateOutcome
) -> Contribution:
    return Contribution(
        delta=bench.update(),
        site=bench.site.name,
        round=task.round,
        base_digest=task.base_digest,
        cases=plan.units,
        target_delta=plan.target_delta,
        clip_norm=outcome.clip_norm if plan.adaptive_clip is not None else None,
    )


def _with_cost(made: Contribution, ledger: Ledger, study: Study) -> Contribution:
    """A settled contribution with what the study has cost by now, and the ledger's head."""
    assert study.privacy is not None and made.target_delta is not None  # noqa: S101  the study is private
    events = ledger.study_events(digest(study), "training")
    spent = epsilon_of(events, made.target_delta, study.privacy.accountant)
    return replace(made, epsilon=spent, ledger_head=ledger.head)


def _settled(ledger: Ledger, folder: TaskFolder) -> Finished | None:
    """The answer that an earlier process finished, once it is settled; None if there is none.

    What the ledger does not know any more, or a person has closed, is never sent; the task pays anew.
    """
    for found in folder.all_finished():
        if ledger.settle_finished(found.name, found.facts["steps"], found.facts["clip_norm"]):
            return found
        folder.drop(found.name)
    return None


def _kept_and_settled(
    ledger: Ledger,
    folder: TaskFolder,
    reservation: Reservation,
    content: Callable[[], RecordDict],
    steps: int,
    clip_norm: float | None,
) -> Finished | None:
    """Keep an answer, then settle it: in this order, so that none is paid for and lost.

    Returns:
        As :meth:`TaskFolder.finish`.
    """
    quicker = folder.finish(reservation.id, content, {"steps": steps, "clip_norm": clip_norm})
    ledger.settle(reservation, steps, clip_norm)
    return quicker


def evaluate_privately(
    site: Site,
    task: EvaluateTask,
    study: Study,
    folder: TaskFolder,
    predicted: Callable[[], torch.Tensor],
    labels: NDArray[Any],
    units: torch.Tensor,
) -> EvaluationSums:
    """Counts of the site's test cases under the noise of ``evaluation_epsilon``, paid from its ledger.

    Args:
        site, task, study, folder: As for :func:`train_round_privately`.
        predicted: Gives (N, C) class probabilities of the test cases; asked once they are paid for, since
            also how it fails would tell of them.
        labels: (N,) their classes.
        units: (N,) int64, number of the unit that each case belongs to.

    Raises:
        BudgetSpent: The hospital's budget does not allow this evaluation.
        LedgerMissing, LedgerBroken, LedgerRolledBack: There is no ledger that can be relied on.
        ReservationClosed: Another process has sent these counts.
        DiskFull, OutputUnwritable: Ledger or counts cannot be written; nothing may be sent.
    """
    plan = evaluation_plan_of(study, int(units.max()) + 1)
    assert plan is not None  # noqa: S101  the study has an evaluation_epsilon
    _check_round(task, study)
    ledger = ledger_of(site)
    kept, classes = _settled(ledger, folder), len(study.study.classes)
    if kept is not None:
        return read_evaluation(kept.content, classes).sums
    paid = _paid(site, study, task, "evaluation", plan.unit)
    reservation = ledger.reserve(paid, plan.event(), plan.target_delta, most_steps=plan.evaluations)
    with _spent_whole_on_failure(ledger, reservation, folder):
        secret, _ = _secret(site, "evaluation", task.round, folder, reservation.id)
        sums = noised_sums(predicted().numpy(), labels, units.numpy(), plan, secret)
    made = Evaluation(site.name, task.round, task.base_digest, sums)
    quicker = _kept_and_settled(ledger, folder, reservation, partial(evaluation_content, made), 1, None)
    return read_evaluation(quicker.content, classes).sums if quicker else sums


def _check_round(task: TrainTask | EvaluateTask, study: Study) -> None:
    if not 1 <= task.round <= study.federation.rounds:
        raise TaskInvalid(f"round {task.round} of a study of {study.federation.rounds} rounds")


@contextmanager
def _spent_whole_on_failure(ledger: Ledger, reservation: Reservation, folder: TaskFolder) -> Iterator[None]:
    """What fails in the block is paid for whole: a refusal is an answer too, and tells of what was drawn.

    A process that was killed or interrupted said nothing, and a disk or GPU that fails has nothing to do with
    what was drawn: the reservation stays open for the same task, and counts whole while it does.
    """
    try:
        yield
    except Exception as error:
        if not tells_nothing(error):
            ledger.settle(reservation, reservation.event.steps)
            folder.drop(reservation.id)
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


def _secret(
    site: Site, purpose: Purpose, round_number: int, folder: TaskFolder, name: str
) -> tuple[Secret, bool]:
    """What a reservation's noise is drawn from, and whether another process would draw from the same."""
    if site.noise_seed >= 0:
        return secret_of(site, purpose, round_number), True
    try:
        return Secret(folder.secret(name)), True
    except (DiskFull, OutputUnwritable) as error:
        log.warning("there is no room for checkpoints (%s); the task is done without", error.code)
        return Secret.fresh(), False


def secret_of(site: Site, purpose: str, round_number: int) -> Secret:
    """What noise and sampling are drawn from: fresh for every task, or seeded in a simulation."""
    if site.noise_seed < 0:
        return Secret.fresh()
    return Secret.seeded(site.noise_seed, site.name, purpose, round_number)

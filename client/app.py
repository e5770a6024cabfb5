"""The hospital's Flower ClientApp: describe, train, evaluate.

A task is answered with counts or an update; whatever goes wrong is answered with a refusal that
carries code, public text and hint, and nothing else of the error leaves this process.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import torch
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from client.breakdown import breakdown_of
from client.cases import CaseCache, Split, labels, patients, site_cases, unit_numbers
from client.checkpoints import PLAIN, TaskFolder, task_folder
from client.devices import choose_device, describe_device
from client.leaving import leaving_update, left_out_before
from client.moments import moments_of
from client.policy import check_policy, limit_gpu, smallest_cell
from client.site import Site, site_of
from client.subgroups import count_subgroups, told_subgroups
from client.trainer import LocalPlan, evaluated, mean_loss, predict, train
from client.workbench import Workbench
from common import __version__
from common.errors import ConsiliumError, TaskInvalid
from common.learning import learning_of
from common.metrics import EvaluationSums, Subgroups, sums_kind
from common.models import SequenceClassifier, SequenceModel, build_model, load_state
from common.seeds import derive_seed
from common.sequences import Cases
from common.study import Study, from_canonical
from common.tasks import (
    ARRAYS,
    Describe,
    EvaluateTask,
    Evaluation,
    SiteDescription,
    TrainTask,
    contribution_content,
    description_content,
    evaluation_content,
    read_about,
    read_contribution,
    refusal_content,
    weights_of,
)
from common.update import Contribution
from common.weights import digest

log = logging.getLogger("consilium.client")
private_log = logging.getLogger("consilium.private")  # may name files and rows: silent in a daemon
Action = Callable[[Site, RecordDict], RecordDict]

_cases = CaseCache()


def describe(site: Site, content: RecordDict) -> RecordDict:
    """Counts of the site's cases, after the checks that need no picture."""
    study = _study(read_about(content, Describe).study)
    check_policy(site, study)
    cases = site_cases(site.source.entries(study), site.name, study)
    return description_content(
        SiteDescription(
            site=site.name,
            version=__version__,
            device=describe_device(choose_device(site.device)),
            train_cases=len(cases.train),
            train_patients=patients(cases.train),
            test_cases=len(cases.test),
            test_patients=patients(cases.test),
            train_labels=labels(cases.train, study, site.source),
            test_labels=labels(cases.test, study, site.source),
            val_cases=len(cases.val) if study.validates else None,
        )
    )


def train_round(site: Site, content: RecordDict) -> RecordDict:
    """The update that this site's training cases make to the base model."""
    task = read_about(content, TrainTask)
    study = _study(task.study)
    check_policy(site, study)
    left_out = left_out_before(site, task, study)
    folder = task_folder(site.state, site.name, "training", task)
    prepared = partial(_workbench, site, task, study, content)
    if study.privacy is not None and study.privacy.at_sites:
        # Here, because plain federations need not wait for Opacus to be imported.
        from client.private_round import train_round_privately

        contribution = train_round_privately(site, task, study, folder, prepared)
    else:
        contribution = _train(task, folder, prepared)
    return contribution_content(contribution, leaving_update(site, task, study, contribution.delta, left_out))


def _workbench(site: Site, task: TrainTask, study: Study, content: RecordDict) -> Workbench:
    """The task laid out for training; whatever can be wrong with it before training is wrong here."""
    base = _base.read(content, task.base_digest)
    device = _device(site)
    model = _model(task.study, base, device)
    cases = _cases.get(site.source, "train", study, device)
    progress = (task.round - 1) / study.federation.rounds
    seed = derive_seed(task.seed, "local-training", task.round, site.name)
    passes = derive_seed(task.seed, "passes", site.name)
    plan = LocalPlan.of(study, progress, seed, task.class_weights, task.proximal_mu, passes)
    moments = moments_of(site, task) if study.training.optimizer_state == "kept" else None
    groups = _patients(site, study) if study.training.sampling == "balanced" else None
    return Workbench(site, model, base, cases, plan, moments, groups)


def _patients(site: Site, study: Study) -> torch.Tensor:
    """(N,) int64, number of the patient of each training case."""
    return unit_numbers(site_cases(site.source.entries(study), site.name, study).train, "patient")


def _train(task: TrainTask, folder: TaskFolder, prepared: Callable[[], Workbench]) -> Contribution:
    """The contribution of a study without privacy; one that was finished is given again, not made again."""
    kept = folder.finished(PLAIN)
    if kept is not None:
        return read_contribution(kept.content)
    bench = prepared()
    base_loss = mean_loss(bench.model, bench.cases, bench.plan.learning) if task.base_loss else None
    trained = train(
        bench.model,
        bench.cases,
        bench.plan,
        bench.checkpoints(folder, PLAIN),
        moments=bench.moments,
        groups=bench.groups,
    )
    given = Contribution(
        delta=bench.update(),
        site=bench.site.name,
        round=task.round,
        base_digest=task.base_digest,
        cases=len(bench.cases),
        loss=trained.loss,
        base_loss=base_loss,
        steps=None if bench.plan.training.work_s is None else trained.steps,
    )
    quicker = folder.finish(PLAIN, partial(contribution_content, given), {})
    return given if quicker is None else read_contribution(quicker.content)


def evaluate_round(site: Site, content: RecordDict) -> RecordDict:
    """Counts of how the model does on this site's test cases, or on its validation cases."""
    task = read_about(content, EvaluateTask)
    study = _study(task.study)
    split = _split(task, study)
    check_policy(site, study)
    device = _device(site)
    model = _model(task.study, _base.read(content, task.base_digest), device)
    cases = _cases.get(site.source, split, study, device)
    about = site.name, task.round, task.base_digest
    if task.subgroups:
        return evaluation_content(Evaluation(*about, *_by_subgroup(site, study, model, cases)))
    return evaluation_content(Evaluation(*about, _count(site, task, study, model, cases)))


def _split(task: EvaluateTask, study: Study) -> Split:
    """Which cases a task asks for."""
    if task.subgroups and (task.split is not None or not study.federation.subgroups):
        raise TaskInvalid("no counts of subgroups of these cases in this study")
    if task.split is None:
        return "test"
    if task.split == "val" and study.validates:
        return "val"
    raise TaskInvalid(f"no counts of split {task.split[:20]!r} in this study")


def _count(
    site: Site, task: EvaluateTask, study: Study, model: SequenceModel, cases: Cases
) -> EvaluationSums:
    """Counts as the study asks for them: with the noise of a privacy of their own, or as they are."""
    if study.privacy is None or study.privacy.evaluation_epsilon is None:
        none = sums_kind(study).none(len(study.study.classes))
        sums = evaluated(model, cases, learning_of(study), none, keep=site.share_scores)
        return _with_patients(site, task, study, sums) if site.share_scores else sums
    from client.private_round import evaluate_privately  # as in train_round

    entries = site_cases(site.source.entries(study), site.name, study).test
    units = unit_numbers(entries, study.privacy.unit)
    assert isinstance(model, SequenceClassifier)  # noqa: S101  as the study's tables have it
    predicted = partial(predict, model, cases, uncertain=True)
    folder = task_folder(site.state, site.name, "evaluation", task)
    return evaluate_privately(site, task, study, folder, predicted, cases.targets.cpu().numpy(), units)


def _by_subgroup(
    site: Site, study: Study, model: SequenceModel, cases: Cases
) -> tuple[EvaluationSums, Subgroups]:
    """Counts of the test cases, and of those subgroups of them that may be told."""
    entries = site_cases(site.source.entries(study), site.name, study).test
    least = max(study.federation.min_cell, smallest_cell(site))
    masks = told_subgroups(entries, study.federation.subgroups, least)
    patients = unit_numbers(entries, "patient").numpy() if site.share_scores else None
    none = sums_kind(study).none(len(study.study.classes))
    return count_subgroups(model, cases, learning_of(study), none, masks, patients)


def _with_patients(site: Site, task: EvaluateTask, study: Study, sums: EvaluationSums) -> EvaluationSums:
    """The counts with the number of each single case's patient: they are drawn for intervals."""
    entries = site_cases(site.source.entries(study), site.name, study).of(_split(task, study))
    return replace(sums, patients=unit_numbers(entries, "patient").numpy())


def answer(message: Message, context: Context, action: Action) -> Message:
    """The reply to ``message``: what ``action`` gives, or a refusal."""
    name = str(context.node_config.get("site", ""))
    try:
        content = action(site_of(context.node_config), message.content)
    except ConsiliumError as error:
        private_log.warning("%s: %s", error.code, error.private)
        content = refusal_content(error.refusal(), name)
    except Exception as defect:  # noqa: BLE001  the process edge: Flower would send the text on
        found = breakdown_of(defect) or ConsiliumError()
        place = traceback.extract_tb(defect.__traceback__)[-1]  # its text may quote data
        log.warning("%s: %s at %s:%s", found.code, type(defect).__name__, place.filename, place.lineno)
        content = refusal_content(found.refusal(), name)
    return Message(content, reply_to=message)


def create_app() -> ClientApp:
    """A ClientApp with the three actions."""
    created = ClientApp()
    created.query()(lambda message, context: answer(message, context, describe))
    created.train()(lambda message, context: answer(message, context, train_round))
    created.evaluate()(lambda message, context: answer(message, context, evaluate_round))
    return created


def _device(site: Site) -> torch.device:
    device = choose_device(site.device)
    limit_gpu(site, device)
    return device


@lru_cache(maxsize=8)
def _study(text: str) -> Study:
    return from_canonical(text)


class _BaseModel:
    """The base model last received, decoded once for all sites that are handed the same record."""

    def __init__(self) -> None:
        self._record: ArrayRecord | None = None
        self._weights: dict[str, Any] = {}
        self._digest = ""

    def read(self, content: RecordDict, named: str) -> dict[str, Any]:
        """The weights in ``content``, whose digest must be ``named``."""
        record = content.array_records.get(ARRAYS)
        if record is None or record is not self._record:
            weights = weights_of(content)
            self._record, self._weights, self._digest = record, weights, digest(weights)
        if self._digest != named:
            raise TaskInvalid("the base model's digest is not the one the task names")
        return self._weights


_base = _BaseModel()


def _model(study_text: str, base: dict[str, Any], device: torch.device) -> SequenceModel:
    """The study's model with the base's weights; built once and used again for the next task."""
    model = _built(study_text, device)
    own = {name: (tensor.shape, tensor.dtype) for name, tensor in model.state_dict().items()}
    if own != {name: (array.shape, torch.from_numpy(array).dtype) for name, array in base.items()}:
        raise TaskInvalid("the base model's arrays are not those of the study's model")
    load_state(model, base)
    return model


@lru_cache(maxsize=2)
def _built(study_text: str, device: torch.device) -> SequenceModel:
    return build_model(_study(study_text)).to(device)


app = create_app()

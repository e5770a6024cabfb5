"""Whether a task is one that a contract holds: compared field by field, with nothing left over."""

from __future__ import annotations

import math
import re
from dataclasses import asdict
from typing import Any

from flwr.app import RecordDict

from common.contract.contract import Contract
from common.contract.model import model_digest
from common.errors import TaskInvalid, TaskOutsideContract
from common.study import from_canonical
from common.tasks import ABOUT, ARRAYS, Describe, EvaluateTask, TrainTask, read_about

Task = Describe | TrainTask | EvaluateTask
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LEDGER_HEAD = re.compile(r"([0-9]{1,12}:[0-9a-f]{64})?")
_BALANCE = 1e-9
"""How far, relatively, float64 may put balanced weights off their balance."""


def require_within(contract: Contract, message_type: str, content: RecordDict) -> None:
    """Let a task pass that the contract holds.

    That the weights are those whose digest the task names, the ClientApp checks once they are decoded.

    Args:
        contract: What the hospital approved.
        message_type: Flower's.
        content: All records of the task, as they will be given to the ClientApp.

    Raises:
        TaskOutsideContract: It asks for anything else; the message says in which field.
    """
    if message_type not in contract.tasks:
        raise TaskOutsideContract(
            f"message type {message_type[:40]!r} is none of {', '.join(contract.tasks)}"
        )
    try:
        task = _read(message_type, content)
    except TaskInvalid as error:
        raise TaskOutsideContract(error.private) from None
    _check_records(contract, content, task)
    if task.study != contract.study:
        raise TaskOutsideContract("study: not the text that was approved")
    if isinstance(task, TrainTask | EvaluateTask):
        _check_round(contract, task)
    if isinstance(task, EvaluateTask):
        _check_split(contract, task)
        _check_subgroups(contract, task)
    if isinstance(task, TrainTask):
        _check_training(contract, task)


def _read(message_type: str, content: RecordDict) -> Task:
    if message_type == "train":
        return read_about(content, TrainTask)
    if message_type == "evaluate":
        return read_about(content, EvaluateTask)
    return read_about(content, Describe)


def _check_records(contract: Contract, content: RecordDict, task: Task) -> None:
    wanted = {ABOUT} if isinstance(task, Describe) else {ABOUT, ARRAYS}
    if set(content) != wanted or set(content.config_records[ABOUT]) != _told(task):
        raise TaskOutsideContract("records that no task of this type has")
    if ARRAYS in wanted and model_digest(content.array_records.get(ARRAYS, {})) != contract.model_digest:
        raise TaskOutsideContract("arrays: not those of the model that was approved")


def _told(task: Task) -> set[str]:
    return {name for name, value in asdict(task).items() if value is not None}


def _check_round(contract: Contract, task: TrainTask | EvaluateTask) -> None:
    if not 1 <= task.round <= contract.bounds.rounds:
        raise TaskOutsideContract(f"round {task.round} of {contract.bounds.rounds}")
    if not _DIGEST.fullmatch(task.base_digest):
        raise TaskOutsideContract("base_digest: not a digest")


def _check_split(contract: Contract, task: EvaluateTask) -> None:
    """Validation cases are counted when the study says so: to calibrate, after the last round alone."""
    if task.split is None:
        return
    study = from_canonical(contract.study)
    if task.split != "val" or not study.validates:
        raise TaskOutsideContract(f"split {task.split[:20]!r}: the study counts test cases alone")
    if not study.validates_in(task.round):
        raise TaskOutsideContract(f"split: validation cases are not counted after round {task.round}")


def _check_subgroups(contract: Contract, task: EvaluateTask) -> None:
    """Subgroups are counted of a final model alone, of test cases, in a study that asks for them."""
    if task.subgroups is None:
        return
    study = from_canonical(contract.study)
    if task.split is not None or not study.federation.subgroups:
        raise TaskOutsideContract("subgroups: the study counts no subgroups of these cases")
    if not study.may_keep(task.round):
        raise TaskOutsideContract(f"subgroups: they are not counted after round {task.round}")


def _check_training(contract: Contract, task: TrainTask) -> None:
    bounds = contract.bounds
    expected: dict[str, Any] = {
        "seed": contract.seed,
        "proximal_mu": bounds.proximal_mu,
        "base_loss": bounds.base_loss,
    }
    for name, value in expected.items():
        if getattr(task, name) != value:
            raise TaskOutsideContract(f"{name} is {getattr(task, name)}, agreed is {value}")
    if not _LEDGER_HEAD.fullmatch(task.ledger_head):
        raise TaskOutsideContract("ledger_head: not the head of a ledger")
    if not _balanced(task.class_weights, bounds.class_weights):
        raise TaskOutsideContract(f"class_weights: no {bounds.class_weights} balanced weights")


def _balanced(weights: tuple[float, ...], count: int) -> bool:
    """Whether the weights are ``N / (K n_c)`` for some counts n_c of K classes that occur, 0 for others.

    Such weights have the harmonic mean 1, whatever the counts: the sum of ``1 / w_c`` is ``K n / N = K``.
    """
    if len(weights) != count or not all(math.isfinite(w) and w >= 0 for w in weights):
        return False
    present = [weight for weight in weights if weight]
    inverse = math.fsum(1 / weight for weight in present)
    return not count or (bool(present) and math.isclose(inverse, len(present), rel_tol=_BALANCE))

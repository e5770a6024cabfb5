"""A contract, sealed, and the tasks that belong to it."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import ConfigRecord, RecordDict

from common.contract import Contract, model_digest, seal_contract
from common.link.envelope import Sealed
from common.models import initial_weights
from common.study import Study, parse_study
from common.tasks import ABOUT, Describe, EvaluateTask, TrainTask, task_content, weights_record
from common.weights import digest

FEDERATION = "0123456789ab"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
CODE = "c0de" * 16
SMALL: dict[str, dict[str, Any]] = {
    "study": {"name": "small", "labels": {"0": "normal", "1": "lesion"}},
    "sequence": {"kind": "rows", "size": 8},
    "model": {"hidden": 2},
    "federation": {"rounds": 3},
}


def study_with(**sections: Any) -> Study:
    """A small study; keyword arguments are laid over its sections."""
    return parse_study(
        {name: {**SMALL.get(name, {}), **sections.get(name, {})} for name in {**SMALL, **sections}}
    )


def contract_with(study: Study | None = None, **changes: Any) -> Contract:
    """A contract of 30 days from ``NOW``; keyword arguments are laid over its terms."""
    study = study or study_with()
    seed = changes.get("seed", 7)
    terms: dict[str, Any] = {
        "federation": FEDERATION,
        "seed": seed,
        "code_digest": CODE,
        "model_digest": model_digest(initial_weights(study, seed)),
        "issued": NOW,
        "expires": NOW + timedelta(days=30),
    }
    return Contract.of_study(study, **{**terms, **changes})


def sealed(contract: Contract, key: Ed25519PrivateKey = KEY) -> Sealed:
    """The contract as it arrives at a site."""
    return seal_contract(contract, key, NOW)


def task_of(contract: Contract, message_type: str, **changes: Any) -> RecordDict:
    """A task that the contract holds; keyword arguments are laid over its fields."""
    study = contract.resolved_study()
    weights = initial_weights(study, contract.seed)
    if message_type == "query":
        return _changed(task_content(Describe(contract.study)), changes)
    if message_type == "evaluate":
        return _changed(
            task_content(EvaluateTask(contract.study, 1, digest(weights)), weights_record(weights)), changes
        )
    task = TrainTask(
        study=contract.study,
        seed=contract.seed,
        round=1,
        base_digest=digest(weights),
        proximal_mu=contract.bounds.proximal_mu,
        class_weights=(1.5, 0.75) if contract.bounds.class_weights else (),
        base_loss=contract.bounds.base_loss,
    )
    return _changed(task_content(task, weights_record(weights)), changes)


def fields_of(message_type: str) -> list[str]:
    """Names of a task's fields."""
    kinds: dict[str, Any] = {"query": Describe, "train": TrainTask, "evaluate": EvaluateTask}
    return [each.name for each in fields(kinds[message_type])]


def _changed(content: RecordDict, changes: dict[str, Any]) -> RecordDict:
    content[ABOUT] = ConfigRecord({**content.config_records[ABOUT], **changes})
    return content

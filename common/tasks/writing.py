"""Values as Flower records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from common.errors import Refusal
from common.tasks.values import Describe, EvaluateTask, Evaluation, SiteDescription, TrainTask
from common.update import Contribution
from common.weights import Weights

ABOUT, ARRAYS, REFUSAL = "about", "arrays", "refusal"
COUNTS = ("confusion", "calibration", "histogram", "scores", "labels")


def weights_record(weights: Weights) -> ArrayRecord:
    """Weights as Flower moves them. Made once a round and shared by all messages."""
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in weights.items()})


def task_content(task: Describe | TrainTask | EvaluateTask, weights: ArrayRecord | None = None) -> RecordDict:
    """A task as records."""
    content = RecordDict({ABOUT: _config(asdict(task))})
    if weights is not None:
        content[ARRAYS] = weights
    return content


def description_content(description: SiteDescription) -> RecordDict:
    """A description as records."""
    return RecordDict({ABOUT: _config(asdict(description))})


def contribution_content(contribution: Contribution) -> RecordDict:
    """A contribution as records."""
    about = {f.name: getattr(contribution, f.name) for f in fields(Contribution) if f.name != "delta"}
    return RecordDict({ABOUT: _config(about), ARRAYS: weights_record(contribution.delta)})


def evaluation_content(evaluation: Evaluation) -> RecordDict:
    """Evaluation sums as records."""
    sums = evaluation.sums
    about = {"site": evaluation.site, "round": evaluation.round, "base_digest": evaluation.base_digest}
    arrays = {name: getattr(sums, name) for name in COUNTS}
    return RecordDict({ABOUT: _config({**about, "loss": sums.loss}), ARRAYS: weights_record(arrays)})


def refusal_content(refusal: Refusal, site: str) -> RecordDict:
    """A refusal as records, with the name of the site that refuses (empty if it does not know itself)."""
    return RecordDict({REFUSAL: ConfigRecord({**asdict(refusal), "site": site})})


def _config(values: Mapping[str, Any]) -> ConfigRecord:
    """Flower has lists for tuples and no null: an unset field is left away."""
    return ConfigRecord(
        {key: list(v) if isinstance(v, tuple) else v for key, v in values.items() if v is not None}
    )

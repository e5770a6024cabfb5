"""Values as Flower records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from io import BytesIO
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.lib.format import dtype_to_descr, write_array_header_1_0

from common.errors import Refusal
from common.metrics.subgroups import arrays_of
from common.tasks.values import Describe, EvaluateTask, Evaluation, SiteDescription, TrainTask
from common.update import Contribution
from common.weights import Weights, pieces_of, spec_of

ABOUT, ARRAYS, REFUSAL = "about", "arrays", "refusal"
NUMPY = Array(np.zeros(0)).stype  # as Flower calls NumPy's format


def weights_record(weights: Weights) -> ArrayRecord:
    """Weights as Flower moves them. Made once a round and shared by all messages."""
    return ArrayRecord({name: _array(weights, name) for name in weights})


def _array(weights: Weights, name: str) -> Array:
    """An array in NumPy's format, made piece by piece: Flower's own way has it in memory three times."""
    spec, buffer = spec_of(weights, name), BytesIO()
    described = {"descr": dtype_to_descr(spec.dtype), "fortran_order": False, "shape": spec.shape}
    write_array_header_1_0(buffer, described)
    begin = buffer.tell()
    if spec.size:  # all the room that it will need: a buffer that grows is copied
        buffer.seek(begin + spec.size * spec.dtype.itemsize - 1)
        buffer.write(b"\0")
        buffer.seek(begin)
    for piece in pieces_of(weights, name):
        buffer.write(piece.data)
    return Array(dtype=str(spec.dtype), shape=spec.shape, stype=NUMPY, data=buffer.getvalue())


def task_content(task: Describe | TrainTask | EvaluateTask, weights: ArrayRecord | None = None) -> RecordDict:
    """A task as records."""
    content = RecordDict({ABOUT: _config(asdict(task))})
    if weights is not None:
        content[ARRAYS] = weights
    return content


def description_content(description: SiteDescription) -> RecordDict:
    """A description as records."""
    return RecordDict({ABOUT: _config(asdict(description))})


def contribution_content(contribution: Contribution, encoded: Weights | None = None) -> RecordDict:
    """A contribution as records.

    Args:
        contribution: What is given.
        encoded: Its update as the study's codec writes it (:func:`common.codecs.encode`); None for the
            update as it is.
    """
    about = {f.name: getattr(contribution, f.name) for f in fields(Contribution) if f.name != "delta"}
    return RecordDict(
        {ABOUT: _config(about), ARRAYS: weights_record(contribution.delta if encoded is None else encoded)}
    )


def evaluation_content(evaluation: Evaluation) -> RecordDict:
    """Evaluation sums as records."""
    sums = evaluation.sums
    about = {"site": evaluation.site, "round": evaluation.round, "base_digest": evaluation.base_digest}
    arrays = {**sums.arrays(), **arrays_of(evaluation.subgroups)}
    return RecordDict({ABOUT: _config({**about, "loss": sums.loss}), ARRAYS: weights_record(arrays)})


def refusal_content(refusal: Refusal, site: str) -> RecordDict:
    """A refusal as records, with the name of the site that refuses (empty if it does not know itself)."""
    return RecordDict({REFUSAL: ConfigRecord({**asdict(refusal), "site": site})})


def _config(values: Mapping[str, Any]) -> ConfigRecord:
    """Flower has lists for tuples and no null: an unset field is left away."""
    return ConfigRecord(
        {key: list(v) if isinstance(v, tuple) else v for key, v in values.items() if v is not None}
    )

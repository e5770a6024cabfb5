"""From a model's logits to probabilities, by the calibration that its run fitted if it fitted one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from common.metrics import Calibration
from common.metrics.sums import Array
from common.study import Study


def read_calibration(document: Mapping[str, Any] | None, study: Study) -> Calibration | None:
    """What a run wrote down, or None if it wrote nothing.

    Raises:
        ValueError: It is no calibration, or not one of such a study.
    """
    if not document:
        return None
    found, classes = Calibration.of_json(document), len(study.study.classes)
    if found.form != _form(study) or len(found.bias) != classes:
        raise ValueError(f"a calibration of form {found.form!r} with {len(found.bias)} biases")
    return found


def calibrated(
    logits: torch.Tensor, calibration: Calibration | None, *, several: bool = False
) -> torch.Tensor:
    """(..., C) float32 probabilities of logits (..., C), on the CPU.

    Args:
        logits: As the model gives them.
        calibration: None for the model's own probabilities.
        several: Each class is a question of its own.
    """
    own = logits.double().cpu()
    own = own.sigmoid() if several else own.softmax(-1)
    if calibration is not None:
        rows = calibration.probabilities(own.reshape(-1, own.shape[-1]).numpy())
        own = torch.from_numpy(rows).reshape(own.shape)
    return own.float()


def called(probabilities: torch.Tensor, calibration: Calibration | None, *, several: bool = False) -> Array:
    """(n,) int64 class that is called, or with several labels (n, C) bool whether each is.

    Without a calibration it is the most probable class; of two, and of each label, 0.5 is enough.

    Args:
        probabilities: (n, C), calibrated.
        calibration: As of :func:`calibrated`.
        several: As of :func:`calibrated`.
    """
    given: Array = probabilities.double().numpy()
    if calibration is not None:
        return calibration.called(given)
    if several:
        return given >= 0.5
    return (given[:, 1] >= 0.5).astype("int64") if given.shape[1] == 2 else given.argmax(axis=1)


def calibration_told(calibration: Calibration | None) -> dict[str, Any]:
    """As it is written beside predictions."""
    return {"fitted": False} if calibration is None else {"fitted": True, **calibration.to_json()}


def _form(study: Study) -> str:
    """The only form that fits a study; "" for a task whose outputs are not calibrated."""
    if study.study.several_labels:
        return "labels"
    if study.study.task not in ("classification", "risk"):
        return ""
    return "softmax" if len(study.study.classes) == 2 else "classes"

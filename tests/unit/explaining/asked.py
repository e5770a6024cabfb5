"""A model of each task with the weights of a seed, a case of it, and what the model says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from client.predicting import Given, TrainedModel
from client.predicting.layout import Layout
from tests.conftest import small_study
from tests.unit.predicting.finished import opened

RECORDS = {
    "kind": "steps",
    "variables": {"HR": {"centre": 0.0, "scale": 1.0}, "MAP": {"centre": 0.0, "scale": 1.0}},
}
RISK = {"study": {"task": "risk", "labels": {"0": "survived", "1": "died"}}, "sequence": RECORDS}
KINDS = {"0": "background", "1": "nodule", "2": "cyst"}
MAPS = {"cell": "conv_gru", "encoder": "cnn", "hidden": 8}
STACK = {"kind": "slices", "size": 16}
CLIP = {"kind": "frames", "size": 16}
PIXELS = {"study": {"task": "segmentation", "labels": KINDS}, "sequence": STACK, "model": MAPS}
BOXES = {
    "study": {"task": "detection", "labels": {"1": "nodule", "2": "cyst"}},
    "sequence": CLIP,
    "model": MAPS,
}
PATCHES = {"kind": "patches", "size": 16, "patch": 4, "order": "hilbert"}

ASKED: dict[str, dict[str, Any]] = {
    "several labels": {"study": {"several_labels": True}},
    "risk": RISK,
    "risk gru_d": {**RISK, "model": {"cell": "gru_d"}},
    "risk lstm": {**RISK, "model": {"cell": "lstm", "layers": 2}},
    "pixels conv_gru": PIXELS,
    "pixels conv_lstm": {
        **PIXELS,
        "model": {**MAPS, "cell": "conv_lstm", "encoder": "none", "bidirectional": True},
    },
    "pixels rows": {**PIXELS, "sequence": {"kind": "rows", "size": 8}, "model": {"cell": "gru"}},
    "boxes conv_gru": BOXES,
    "boxes patches": {**BOXES, "sequence": PATCHES, "model": {"cell": "gru"}},
}

HOG = {"encoder": "hog"}
HISTOGRAMS: dict[str, dict[str, Any]] = {
    "rows": {"sequence": {"kind": "rows", "size": 10}, "model": {**HOG, "pooling": "attention"}},
    "rows conv_gru": {"sequence": {"kind": "rows", "size": 10}, "model": {**HOG, "cell": "conv_gru"}},
    "labels patches": {
        "study": {"several_labels": True},
        "sequence": {"kind": "patches", "size": 20, "patch": 10},
        "model": {**HOG, "cell": "lstm", "bidirectional": True},
    },
    "frames": {"sequence": {"kind": "frames", "size": 10}, "model": {**HOG, "cell": "rnn"}},
    "slices conv_lstm": {"sequence": {"kind": "slices", "size": 10}, "model": {**HOG, "cell": "conv_lstm"}},
    "risk frames": {**RISK, "sequence": {"kind": "frames", "size": 10}, "model": HOG},
    "boxes patches": {
        **BOXES,
        "sequence": {"kind": "patches", "size": 32, "patch": 8, "order": "hilbert"},
        "model": {**HOG, "cell": "gru"},
    },
}
"""Of models that read histograms of gradients, those of most with cells that are cut."""


def model_of(folder: Path, sections: dict[str, dict[str, Any]], seed: int = 0) -> TrainedModel:
    """A detector's cells are half sure from the beginning, or it would find nothing."""
    model = opened(folder, small_study(**sections), seed=seed)
    if model.study.study.task == "detection":
        with torch.no_grad():
            model.network.get_submodule("head").bias[: len(model.study.study.classes)] = 0.0
    return model


def case_of(model: TrainedModel, count: int = 4, name: str = "a case") -> Given:
    """Of so many steps, where they are not those of one picture."""
    sequence, drawn = model.study.sequence, torch.Generator().manual_seed(3)
    if sequence.kind == "steps":
        columns = len(sequence.columns)
        steps = torch.randn(count, 3 * columns, generator=drawn)
        measured = steps[:, columns : 2 * columns] > 0
        steps[:, columns : 2 * columns] = measured.float()
        steps[:, :columns] *= measured
        return Given(name, steps, times=tuple(60.0 * step for step in range(count)))
    height, width = sequence.frame
    length, pictures = (sequence.steps, 1) if sequence.kind in ("rows", "patches") else (count, count)
    layout = Layout((pictures, sequence.size, sequence.size), (1.0, 1.0, 1.0))
    return Given(name, torch.randn(length, height * width, generator=drawn), layout=layout)

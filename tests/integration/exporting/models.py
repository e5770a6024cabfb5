"""Small models of every task, and of every cell that the task has."""

from __future__ import annotations

from typing import Any

SEGMENTATION = {"task": "segmentation", "labels": {"0": "background", "1": "heart", "2": "lung"}}
DETECTION = {"task": "detection", "labels": {"0": "nodule", "1": "mass"}}
GENERATION = {"task": "generation"}
RISK = {"task": "risk", "labels": {"0": "survived", "1": "died"}}

ROWS, PATCHES = {"kind": "rows", "size": 12}, {"kind": "patches", "size": 32, "patch": 8}
WIDE = {"kind": "rows", "size": 80}
"""Whose histograms are of cells of 10 rows, more than an exporter sees of a case."""
HILBERT = {**PATCHES, "order": "hilbert"}
RECORD = {
    "kind": "steps",
    "variables": {name: {"centre": 80.0, "scale": 10.0} for name in ("HR", "BP")},
}
STACKED = {"layers": 2, "residual": True, "layer_norm": True}


def pictures(kind: str, size: int) -> dict[str, Any]:
    return {"kind": kind, "size": size}


Sections = dict[str, dict[str, Any]]


def of(study: dict[str, Any], sequence: dict[str, Any], cell: str, **model: Any) -> Sections:
    return {"study": study, "sequence": sequence, "model": {"cell": cell, "hidden": 8, **model}}


MODELS: dict[str, Sections] = {
    "classification frames conv_gru cnn": of({}, pictures("frames", 16), "conv_gru", encoder="cnn"),
    "classification rows conv_lstm": of({}, ROWS, "conv_lstm", bidirectional=True, pooling="last"),
    "classification rows residual": of({}, ROWS, "gru", bidirectional=True, **STACKED),
    "classification rows gru hog": of({}, WIDE, "gru", encoder="hog", bidirectional=True),
    "classification rows conv_gru hog": of({}, ROWS, "conv_gru", encoder="hog"),
    "classification patches lstm hog": of({}, PATCHES, "lstm", encoder="hog", pooling="last"),
    "classification record gru_d": of({}, RECORD, "gru_d"),
    "several labels record gru_d": of({"several_labels": True}, RECORD, "gru_d"),
    "risk record gru_d": of(RISK, RECORD, "gru_d"),
    "risk record stack": of(RISK, RECORD, "lstm", **STACKED),
    "risk frames conv_gru cnn": of(RISK, pictures("frames", 16), "conv_gru", encoder="cnn"),
    "risk frames conv_lstm hog": of(RISK, pictures("frames", 18), "conv_lstm", encoder="hog"),
    "segmentation slices conv_gru cnn": of(
        SEGMENTATION, pictures("slices", 18), "conv_gru", encoder="cnn", bidirectional=True
    ),
    "segmentation frames conv_lstm cnn": of(
        SEGMENTATION, pictures("frames", 16), "conv_lstm", encoder="cnn", layers=2
    ),
    "segmentation slices conv_gru": of(SEGMENTATION, pictures("slices", 8), "conv_gru"),
    "segmentation rows gru cnn": of(SEGMENTATION, ROWS, "gru", encoder="cnn", bidirectional=True),
    "segmentation rows rnn": of(SEGMENTATION, ROWS, "rnn"),
    "segmentation patches lstm cnn": of(SEGMENTATION, HILBERT, "lstm", encoder="cnn", **STACKED),
    "detection frames conv_gru cnn": of(DETECTION, pictures("frames", 36), "conv_gru", encoder="cnn"),
    "detection slices conv_lstm cnn": of(
        DETECTION, pictures("slices", 16), "conv_lstm", encoder="cnn", bidirectional=True
    ),
    "detection patches gru cnn": of(DETECTION, HILBERT, "gru", encoder="cnn", bidirectional=True),
    "detection patches gru hog": of(DETECTION, HILBERT, "gru", encoder="hog", bidirectional=True),
    "detection patches lstm": of(DETECTION, PATCHES, "lstm", layers=2),
    "generation rows gru": of(GENERATION, ROWS, "gru"),
    "generation rows lstm stack": of(GENERATION, ROWS, "lstm", **STACKED),
    "generation rows rnn one class": of({**GENERATION, "labels": {"0": "chest"}}, ROWS, "rnn", layers=2),
}

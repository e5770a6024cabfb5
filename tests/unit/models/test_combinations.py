"""Every task with every sequence, cell and encoder: built, or refused by name when the study is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from common.errors import InvalidValue
from common.learning import learning_of
from common.models import build_model
from common.models.build import CELLS, HEADS
from common.study import digest, parse_study
from common.study.head import Task
from common.study.model import Cell, Encoder
from tests.unit.models.combinations import LENGTHS, TARGETS, Combination, batch, combinations, table
from tests.unit.models.walking import assert_learns_or_is_refused

OWN = tuple(encoder for encoder in get_args(Encoder) if not encoder.startswith("monai:"))
"""Those that need no extra; MONAI's are in tests/integration."""

DOCUMENT = Path(__file__).parents[3] / "docs" / "models.md"
LABELS = {"0": "a", "1": "b"}


@pytest.mark.parametrize("each", combinations(OWN), ids=str)
def test_every_combination_learns_or_is_refused_by_name(each: Combination) -> None:
    assert_learns_or_is_refused(each)


def test_tables_know_every_word_of_a_study() -> None:
    assert set(CELLS) == set(get_args(Cell))
    assert set(HEADS) == {*get_args(Task), "several labels"}
    assert set(get_args(Task)) <= set(TARGETS)


def test_document_holds_the_table() -> None:
    assert "\n".join(table()) in DOCUMENT.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("model", "sequence", "word"),
    [
        ({"cell": "gru_d", "bidirectional": True}, "steps", "not bidirectional"),
        ({"cell": "gru_d", "layers": 2}, "steps", "one layer"),
        ({"cell": "gru_d"}, "filled", "lets old values fade"),
        ({"residual": True}, "frames", "layers is 1"),
        ({"layer_norm": True}, "frames", "layers is 1"),
        ({"residual": True, "layers": 2, "cell": "conv_gru"}, "frames", "not for conv_gru"),
        ({"layer_norm": True, "layers": 2, "cell": "conv_lstm"}, "frames", "not for conv_lstm"),
        ({"encoder": "monai:resnet10"}, "small", "at least 32 pixels"),
        ({"encoder": "monai:resnet11"}, "frames", "encoder"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(model: dict[str, Any], sequence: str, word: str) -> None:
    kinds = {
        "steps": {"kind": "steps", "variables": {"HR": {"centre": 80, "scale": 20}}},
        "filled": {"kind": "steps", "variables": {"HR": {"centre": 80, "scale": 20}}, "fill": "last"},
        "frames": {"kind": "frames", "size": 32},
        "small": {"kind": "frames", "size": 24},
    }
    with pytest.raises(InvalidValue, match=word):
        parse_study({"study": {"name": "x", "labels": LABELS}, "model": model, "sequence": kinds[sequence]})


@pytest.mark.parametrize("key", ["residual", "layer_norm"])
def test_digest_changes_with_connections_between_layers_and_only_with_them(key: str) -> None:
    def made(**model: Any) -> str:
        document = {"name": "x", "labels": LABELS}
        return digest(parse_study({"study": document, "model": {"layers": 2, **model}}))

    assert made(**{key: True}) != made() == made(**{key: False})


@pytest.mark.parametrize(
    ("sequence", "cell"), [("frames", "conv_gru"), ("frames", "conv_lstm"), ("steps", "gru_d")]
)
def test_cells_learn_in_half_precision(sequence: str, cell: str) -> None:
    study = Combination("classification", sequence, cell, "none").study()
    model, cases = build_model(study), batch(study, LENGTHS[sequence])
    with torch.autocast("cpu", torch.bfloat16):
        loss = learning_of(study).loss(model.on(cases), cases)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())

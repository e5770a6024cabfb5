"""Whole models of the newer cells, trained privately: clipped sums against autograd, patient by patient."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from common.models import build_model
from common.study import parse_study
from tests.unit.models.combinations import LENGTHS, Combination, batch
from tests.unit.models.one_by_one import assert_clipped_one_by_one

MODELS = [
    ("frames", {"cell": "conv_gru", "encoder": "cnn", "bidirectional": True, "layers": 2}),
    ("slices", {"cell": "conv_lstm", "encoder": "cnn", "pooling": "attention"}),
    ("rows", {"cell": "conv_gru", "encoder": "cnn"}),
    ("patches", {"cell": "conv_lstm", "encoder": "hog"}),
    ("steps", {"cell": "gru_d", "pooling": "last"}),
    ("frames", {"cell": "lstm", "encoder": "cnn", "layers": 3, "residual": True, "layer_norm": True}),
]


@pytest.mark.parametrize(("sequence", "keys"), MODELS)
def test_clipped_sum_is_that_of_one_record_gradients(sequence: str, keys: dict[str, object]) -> None:
    document = Combination("classification", sequence, "gru", "none").document()
    study = parse_study({**document, "model": {"hidden": 4, **keys}, "privacy": {"noise_multiplier": 1.0}})
    torch.manual_seed(0)
    model, cases = build_model(study).double(), batch(study, LENGTHS[sequence])
    steps = cases.steps.double()

    def losses() -> torch.Tensor:
        return 10 * cross_entropy(model(steps, cases.lengths), cases.targets, reduction="none")

    assert_clipped_one_by_one(model, losses, torch.tensor([0, 1, 0]))

"""Logits become the probabilities and the decision that the calibration says."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from client.predicting.calibration import calibrated, called, read_calibration
from tests.conftest import small_study

LOGITS = torch.tensor([[0.0, 1.0], [2.0, -1.0], [0.3, 0.3]])
SOFTMAX = {"form": "softmax", "temperature": 2.0, "bias": [0.0, -0.5], "threshold": 0.7}
LABELS = {"form": "labels", "temperature": [2.0, 1.0], "bias": [0.0, -1.0], "threshold": [0.9, 0.2]}


def test_without_any_it_is_the_softmax() -> None:
    assert read_calibration(None, small_study()) is None
    found = calibrated(LOGITS, None)
    assert torch.allclose(found, LOGITS.softmax(1))
    assert called(found, None).tolist() == [1, 0, 1]


def test_temperature_and_bias() -> None:
    calibration = read_calibration(SOFTMAX, small_study())
    found = calibrated(LOGITS, calibration)
    expected = [1 / (1 + math.exp(-((b - a) / 2 - 0.5))) for a, b in LOGITS.tolist()]
    assert found[:, 1].tolist() == pytest.approx(expected, abs=1e-6)
    assert called(found, calibration).tolist() == [0, 0, 0]


def test_each_class_against_the_rest() -> None:
    study = small_study(study={"labels": {"0": "a", "1": "b", "2": "c"}})
    told = {"form": "classes", "temperature": 2.0, "bias": [0.1, 0.0, -0.2], "threshold": None}
    logits, calibration = torch.tensor([[1.0, 0.0, -1.0]]), read_calibration(told, study)
    odds = [math.log(p / (1 - p)) for p in logits.softmax(1)[0].tolist()]
    each = [1 / (1 + math.exp(-(o / 2 + b))) for o, b in zip(odds, (0.1, 0.0, -0.2), strict=True)]
    found = calibrated(logits, calibration)
    assert found[0].tolist() == pytest.approx([value / sum(each) for value in each], abs=1e-6)
    assert called(found, calibration).tolist() == [0]


def test_each_label_by_itself() -> None:
    calibration = read_calibration(LABELS, small_study(study={"several_labels": True}))
    found = calibrated(torch.tensor([[2.0, 0.0]]), calibration, several=True)
    expected = [1 / (1 + math.exp(-1.0)), 1 / (1 + math.exp(1.0))]
    assert found[0].tolist() == pytest.approx(expected, abs=1e-6)
    assert called(found, calibration, several=True).tolist() == [[False, True]]
    plain = calibrated(torch.tensor([[2.0, -0.1]]), None, several=True)
    assert called(plain, None, several=True).tolist() == [[True, False]]


def test_versions_keep_their_shape() -> None:
    versions = torch.stack([LOGITS, 2 * LOGITS])
    found = calibrated(versions, read_calibration(SOFTMAX, small_study()))
    assert found.shape == versions.shape
    assert torch.equal(found[0], calibrated(LOGITS, read_calibration(SOFTMAX, small_study())))


@pytest.mark.parametrize(
    ("told", "study"),
    [
        (SOFTMAX, {"study": {"several_labels": True}}),
        (LABELS, {}),
        ({**SOFTMAX, "bias": [0.0, 0.0, 0.0]}, {}),
        (SOFTMAX, {"study": {"task": "segmentation"}, "model": {"pooling": "last"}}),
    ],
)
def test_a_calibration_of_another_kind_is_none(told: dict[str, Any], study: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        read_calibration(told, small_study(**study))

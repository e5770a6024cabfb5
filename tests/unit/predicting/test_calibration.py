"""Logits become the probabilities and the decision that the calibration says."""

from __future__ import annotations

import math

import pytest
import torch

from client.predicting.calibration import Calibration

LOGITS = torch.tensor([[0.0, 1.0], [2.0, -1.0], [0.3, 0.3]])


def test_without_any_it_is_the_softmax() -> None:
    none = Calibration.of(None, 2)
    assert not none.fitted
    assert torch.allclose(none.probabilities(LOGITS), LOGITS.softmax(1))
    assert none.decide(none.probabilities(LOGITS)).tolist() == [1, 0, 1]


def test_temperature_and_bias() -> None:
    found = Calibration.of({"temperature": 2.0, "bias": [0.0, -0.5], "threshold": 0.7}, 2)
    second = found.probabilities(LOGITS)[:, 1]
    expected = [1 / (1 + math.exp(-((b - a) / 2 - 0.5))) for a, b in LOGITS.tolist()]
    assert second.tolist() == pytest.approx(expected, abs=1e-6)
    assert found.decide(found.probabilities(LOGITS)).tolist() == [0, 0, 0]


def test_each_class_against_the_rest() -> None:
    logits = torch.tensor([[1.0, 0.0, -1.0]])
    found = Calibration.of({"form": "classes", "temperature": 2.0, "bias": [0.1, 0.0, -0.2]}, 3)
    odds = [math.log(p / (1 - p)) for p in logits.softmax(1)[0].tolist()]
    each = [1 / (1 + math.exp(-(o / 2 + b))) for o, b in zip(odds, (0.1, 0.0, -0.2), strict=True)]
    expected = [value / sum(each) for value in each]
    assert found.probabilities(logits)[0].tolist() == pytest.approx(expected, abs=1e-6)
    assert found.decide(found.probabilities(logits)).tolist() == [0]

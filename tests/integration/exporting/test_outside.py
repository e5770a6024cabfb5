"""The programs of docs/explain.md, which use an exported file without Consilium, do what Consilium does."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from client.exporting import exported
from common.learning import learning_of
from common.learning.detection import Detection
from common.sequences import SequenceBatch
from tests.conftest import small_study
from tests.integration.exporting.models import MODELS
from tests.unit.predicting.finished import opened

PAGE = Path(__file__).parents[3] / "docs" / "explain.md"


def shown(name: str) -> Callable[..., Any]:
    """A function of the page, as a reader would copy it."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    (own,) = [block for block in blocks if f"def {name}(" in block]
    space: dict[str, Any] = {}
    exec(compile(own, f"{PAGE.name}: {name}", "exec"), space)  # the documentation's own
    found: Callable[..., Any] = space[name]
    return found


@pytest.mark.parametrize("name", ["detection frames conv_gru cnn", "detection patches gru cnn"])
def test_boxes(tmp_path: Path, name: str) -> None:
    runtime = pytest.importorskip("onnxruntime")
    model = opened(tmp_path, small_study(**MODELS[name]), seed=3)
    with torch.no_grad():
        model.network.head.bias.zero_()  # surer than an untrained one, so that there are boxes
        model.network.head.weight.mul_(4)
    exported(model, tmp_path / "m.onnx", "onnx")
    session = runtime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    rows = 16 if "patches" in name else 2
    features = model.study.sequence.frame[0] * model.study.sequence.frame[1]
    steps = torch.randn(2, rows, features, generator=torch.Generator().manual_seed(0))
    lengths = torch.full((2,), rows)
    logits, boxes = session.run(None, {"steps": steps.numpy(), "lengths": lengths.numpy()})
    learning = learning_of(model.study)
    assert isinstance(learning, Detection)
    with torch.no_grad():
        expected = learning.found(model.network(steps, lengths), lengths)
    if "patches" in name:  # one picture, whose cells are the steps
        logits, boxes = logits.reshape(2, 1, rows, -1), boxes.reshape(2, 1, rows, 4)
    found_boxes = shown("found_boxes")
    for case, pictures in enumerate(expected):
        for number, true in enumerate(pictures):
            found = found_boxes(logits[case, number], boxes[case, number])
            assert 2 <= len(found) == len(true.scores)
            assert np.allclose([score for _, score, _ in found], true.scores, atol=1e-5)
            assert [kind for kind, _, _ in found] == true.classes.tolist()
            assert np.allclose([box for _, _, box in found], true.boxes, atol=1e-5)


class Watched:
    """A session that keeps what it gave."""

    def __init__(self, session: Any) -> None:
        self.get_inputs, self._session = session.get_inputs, session
        self.parameters: list[Any] = []

    def run(self, names: None, given: dict[str, Any]) -> list[Any]:
        found: list[Any] = self._session.run(names, given)
        self.parameters.append(found[0])
        return found


def test_pictures(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    model = opened(tmp_path, small_study(**MODELS["generation rows lstm stack"]), seed=3)
    exported(model, tmp_path / "m.onnx", "onnx", step=True)
    session = runtime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    watched, classes = Watched(session), np.array([0, 1, 1])
    pictures = shown("drawn")(watched, 12, 12, np.random.default_rng(0), classes=classes)
    assert pictures.shape == (3, 12, 12) and len({*np.round(pictures * 255).ravel()}) > 20
    assert np.allclose(pictures * 255, np.round(pictures * 255), atol=1e-3)
    batch = SequenceBatch(torch.from_numpy(pictures), torch.full((3,), 12), torch.from_numpy(classes))
    with torch.no_grad():
        expected = model.network.on(batch).numpy()
    for place, said in enumerate(watched.parameters):  # pixel by pixel, what was known when it was drawn
        row, column = divmod(place, 12)
        assert np.allclose(said[:, column], expected[:, row, column], atol=1e-5)

"""A model is usable from its file; what does not belong together is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from client.predicting.model import CALIBRATION_TEXT, loaded, open_model
from common.errors import ModelMissing, ModelUnsuitable, ModelWithoutStudy, WeightsDamaged
from common.metrics import Calibration
from common.models import initial_weights
from common.study import digest, to_canonical, to_toml
from common.weights import STUDY_TEXT, save_weights
from tests.conftest import small_study
from tests.unit.predicting.finished import CALIBRATION, finished


def test_the_single_file_is_enough(tmp_path: Path) -> None:
    finished(tmp_path, small_study())
    alone = Path(shutil.copy(tmp_path / "model.safetensors", tmp_path / "other.safetensors"))
    for rest in ("study.toml", "run.json"):
        (tmp_path / rest).unlink()
    model = open_model(alone)
    assert model.study == small_study() and model.run is None and model.checkpoints == ()
    assert not model.network.training
    for name, array in initial_weights(small_study(), 0).items():
        assert torch.equal(model.network.state_dict()[name], torch.from_numpy(array))


def test_a_checkpoint_takes_the_study_of_its_run(tmp_path: Path) -> None:
    folder = finished(tmp_path, small_study(), rounds=3)
    model = open_model(folder / "checkpoints" / "round-2.safetensors")
    assert model.study == small_study()
    assert len(open_model(folder).checkpoints) == 3
    again = loaded(open_model(folder), folder / "checkpoints" / "round-2.safetensors")
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, model.network.state_dict()[name])


def test_a_study_that_is_not_the_weights_own_is_refused(tmp_path: Path) -> None:
    weights = initial_weights(small_study(), 0)
    save_weights(tmp_path / "model.safetensors", weights, {"study": digest(small_study())})
    with pytest.raises(ModelWithoutStudy):
        open_model(tmp_path)
    (tmp_path / "study.toml").write_text(to_toml(small_study(training={"batch_size": 5})), encoding="utf-8")
    with pytest.raises(ModelWithoutStudy):
        open_model(tmp_path)
    (tmp_path / "study.toml").write_text(to_toml(small_study()), encoding="utf-8")
    assert open_model(tmp_path).study == small_study()


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    about = {STUDY_TEXT: to_canonical(small_study())}
    save_weights(tmp_path / "m.safetensors", initial_weights(small_study(model={"hidden": 5}), 0), about)
    with pytest.raises(ModelUnsuitable):
        open_model(tmp_path / "m.safetensors")


def test_what_is_no_model_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing):
        open_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsDamaged):
        open_model(tmp_path)


def test_a_run_of_other_weights_says_nothing_of_a_file(tmp_path: Path) -> None:
    finished(tmp_path, small_study(), calibration=CALIBRATION)
    assert open_model(tmp_path).calibration == Calibration.of_json(CALIBRATION)
    document = json.loads((tmp_path / "run.json").read_text())
    document["final"]["model_digest"] = "0" * 64
    (tmp_path / "run.json").write_text(json.dumps(document))
    model = open_model(tmp_path)
    assert model.run is None and model.calibration is None


def test_the_files_own_calibration_comes_first(tmp_path: Path) -> None:
    finished(tmp_path, small_study(), calibration=CALIBRATION)
    told = {"form": "softmax", "temperature": 3.0, "bias": [0.0, 0.5], "threshold": 0.25}
    about = {STUDY_TEXT: to_canonical(small_study()), CALIBRATION_TEXT: json.dumps(told)}
    save_weights(tmp_path / "model.safetensors", initial_weights(small_study(), 0), about)
    assert open_model(tmp_path).calibration == Calibration.of_json(told)


@pytest.mark.parametrize(
    "told",
    [{"temperature": 0.0}, {"temperature": "warm"}, {"bias": [1.0]}, {"threshold": 2}, {"form": "labels"}],
)
def test_a_calibration_that_cannot_be_is_refused(tmp_path: Path, told: dict[str, object]) -> None:
    with pytest.raises(ModelUnsuitable):
        open_model(finished(tmp_path, small_study(), calibration={**CALIBRATION, **told}))

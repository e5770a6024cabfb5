"""A trained model from its file: weights, the study it was trained for, and how it is calibrated.

The study's text stands in the file itself (``consilium.study`` in its metadata). Files that lack it, as
checkpoints do, are read with the ``study.toml`` beside them or a folder above, if its digest is the one that
the file names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from client.predicting.calibration import read_calibration
from common.errors import ModelMissing, ModelUnsuitable, ModelWithoutStudy, WeightsDamaged
from common.metrics import Calibration
from common.models import SequenceModel, build_model, load_state
from common.study import Study, digest, from_canonical, load_study
from common.weights import STUDY_TEXT, load_weights
from common.weights import digest as weights_digest

MODEL_FILE, STUDY_FILE, RUN_FILE = "model.safetensors", "study.toml", "run.json"
CALIBRATION_TEXT = "consilium.calibration"


@dataclass(frozen=True, slots=True, eq=False)
class TrainedModel:
    """A model that can be used.

    Attributes:
        path: The file of its weights.
        study: What it was trained for.
        network: In eval mode.
        digest: Of its weights.
        calibration: How its probabilities become true ones, if the run fitted that.
        run: The run's ``run.json``, or None where only the file is there.
        checkpoints: Earlier rounds' weights, the oldest first, if they are there.
    """

    path: Path
    study: Study
    network: SequenceModel
    digest: str
    calibration: Calibration | None
    run: Mapping[str, Any] | None = None
    checkpoints: tuple[Path, ...] = ()

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device


def learns(study: Study) -> str:
    """What a study learns: its task, or a finer word for it where its table has one."""
    return study.study.learns


def open_model(place: Path, device: torch.device | None = None) -> TrainedModel:
    """The model of a finished run.

    Args:
        place: The run's folder, or the file of the weights.
        device: Where it is to work; None for the CPU.

    Raises:
        ModelMissing: There is none.
        ModelWithoutStudy: Its study cannot be found.
        ModelUnsuitable: The weights are no weights of that study.
        WeightsDamaged: The file cannot be read.
    """
    path = place / MODEL_FILE if place.is_dir() else place
    about = _metadata(path)
    study = _study(path, about)
    weights = load_weights(path)
    known, run = weights_digest(weights), _run(path)
    final = (run or {}).get("final") or {}
    # A run.json that lies beside the file by chance says nothing of it.
    run = run if final.get("model_digest") == known else None
    return TrainedModel(
        path=path,
        study=study,
        network=_network(path, study, weights, device or torch.device("cpu")),
        digest=known,
        calibration=_calibration(about, run, study),
        run=run,
        checkpoints=_checkpoints(path.parent, run),
    )


def loaded(model: TrainedModel, path: Path) -> SequenceModel:
    """The same network with the weights of another file, in eval mode.

    Raises:
        ModelUnsuitable: They are those of another model.
        WeightsDamaged: The file cannot be read.
    """
    _metadata(path)
    return _network(path, model.study, load_weights(path), model.device)


def _metadata(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise ModelMissing(f"{path} does not exist")
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WeightsDamaged(f"{path}: {error}") from None


def _study(path: Path, about: Mapping[str, str]) -> Study:
    if STUDY_TEXT in about:
        return from_canonical(about[STUDY_TEXT])
    facts = dict(part.partition("=")[::2] for part in about.get("consilium", "").split())
    for folder in (path.parent, path.parent.parent):
        if (folder / STUDY_FILE).is_file():
            study = load_study(folder / STUDY_FILE)
            if facts.get("study") in (None, digest(study)):
                return study
            raise ModelWithoutStudy(f"{folder / STUDY_FILE} is not the study that {path} was trained for")
    raise ModelWithoutStudy(f"{path} does not hold its study, and there is no {STUDY_FILE} beside it")


def _network(path: Path, study: Study, weights: Mapping[str, Any], device: torch.device) -> SequenceModel:
    network = build_model(study)
    own = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    if own != {name: array.shape for name, array in weights.items()}:
        raise ModelUnsuitable(f"{path}: its arrays are not those of the model of study {study.study.name!r}")
    load_state(network, weights)
    return network.to(device).eval()


def _run(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((path.parent / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _calibration(about: Mapping[str, str], run: Mapping[str, Any] | None, study: Study) -> Calibration | None:
    """What the file says of it, else what the run's record says, else none."""
    try:
        if CALIBRATION_TEXT in about:
            return read_calibration(json.loads(about[CALIBRATION_TEXT]), study)
        final = (run or {}).get("final") or {}
        return read_calibration(final.get("calibration") or (run or {}).get("calibration"), study)
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelUnsuitable(f"its calibration cannot be used: {error}") from None


def _checkpoints(folder: Path, run: Mapping[str, Any] | None) -> tuple[Path, ...]:
    named = ((run or {}).get("files") or {}).get("checkpoints") or []
    return tuple(folder / str(name) for name in named if (folder / str(name)).is_file())

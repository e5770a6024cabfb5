"""A finished run's folder, small, with weights drawn from a seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from client.predicting.model import TrainedModel, open_model
from common.models import initial_weights
from common.study import Study, digest, to_canonical, to_toml
from common.weights import STUDY_TEXT, save_weights
from common.weights import digest as weights_digest

CALIBRATION = {"form": "softmax", "temperature": 2.0, "bias": [0.0, 0.0], "threshold": 0.5}
"""Of two classes."""


def finished(folder: Path, study: Study, seed: int = 0, rounds: int = 0, **final: Any) -> Path:
    """The folder of a run; with ``rounds`` checkpoints, each with weights of its own."""
    weights = initial_weights(study, seed)
    about = {"study": digest(study), "round": "2", "seed": "0"}
    save_weights(folder / "model.safetensors", weights, {**about, STUDY_TEXT: to_canonical(study)})
    names = [f"checkpoints/round-{number}.safetensors" for number in range(rounds)]
    (folder / "checkpoints").mkdir(exist_ok=True)
    for number, name in enumerate(names):
        save_weights(folder / name, initial_weights(study, seed + number), about)
    document = {
        "status": "completed",
        "final": {"model_digest": weights_digest(weights), "pooled": None, "sites": {}, **final},
        "files": {"model": "model.safetensors", "checkpoints": names},
        "sites": {},
        "rounds": [],
        "privacy": None,
    }
    (folder / "run.json").write_text(json.dumps(document), encoding="utf-8")
    (folder / "study.toml").write_text(to_toml(study), encoding="utf-8")
    return folder


def opened(folder: Path, study: Study, **given: Any) -> TrainedModel:
    """The model of such a run."""
    return open_model(finished(folder, study, **given))

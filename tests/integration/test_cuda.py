"""Training on a GPU comes to what training on the processor comes to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from common.study import Study, parse_study
from deploy.engines.inprocess import InProcessEngine
from deploy.federation import FederationData, resolve
from deploy.phantom import write_hospitals
from server.record import read_run
from server.study_run import RunPlan

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]
METRICS = ("accuracy", "balanced_accuracy", "auroc", "loss")


@pytest.fixture(scope="module")
def study() -> Study:
    return parse_study(
        {
            "study": {"name": "phantom", "labels": {"0": "normal", "1": "lesion"}},
            "sequence": {"size": 32},
            "model": {"encoder": "cnn", "hidden": 16, "bidirectional": True},
            "training": {"batch_size": 16, "learning_rate": 2e-3},
            "federation": {"rounds": 3},
        }
    )


@pytest.fixture(scope="module")
def data(study: Study, tmp_path_factory: pytest.TempPathFactory) -> FederationData:
    manifest = write_hospitals(tmp_path_factory.mktemp("data") / "phantom", sites=3, patients=40)
    return resolve(study, manifest)


def final(study: Study, data: FederationData, folder: Path, device: str) -> dict[str, Any]:
    folder.mkdir()
    sites = data.materialise(folder, device)
    InProcessEngine().run(RunPlan(study, 0, folder / "run", "inprocess", len(sites)), sites, data.loads)
    run = read_run(folder / "run")
    assert run is not None and run["status"] == "completed"
    assert all(site["device"].startswith(device) for site in run["sites"].values())
    found: dict[str, Any] = run["final"]["pooled"]
    return found


def test_a_gpu_gives_the_metrics_of_the_cpu(study: Study, data: FederationData, tmp_path: Path) -> None:
    on_cpu, on_gpu = (final(study, data, tmp_path / name[:4], name) for name in ("cpu", "cuda:0"))
    assert on_gpu["n"] == on_cpu["n"]
    assert {m: on_gpu[m] for m in METRICS} == pytest.approx({m: on_cpu[m] for m in METRICS}, abs=0.02)


def test_dropout_and_every_cell_train_on_a_gpu(study: Study, data: FederationData, tmp_path: Path) -> None:
    for cell in ("lstm", "rnn"):
        model = study.model.model_copy(update={"cell": cell, "dropout": 0.3, "layers": 2})
        federation = study.federation.model_copy(update={"rounds": 1})
        one_round = study.model_copy(update={"model": model, "federation": federation})
        assert final(one_round, data, tmp_path / cell, "cuda:0")["n"] > 0

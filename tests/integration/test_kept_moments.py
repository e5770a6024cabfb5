"""Optimisers go on alike, whoever answers for a site and wherever it keeps what they know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from client.site import Site
from common.study import Study
from common.weights import Weights, load_weights, norm, subtract
from deploy.engines.inprocess import InProcessGrid
from server.study_run import RunPlan, run_study
from tests.unit.conftest import SITES, small_study, write_hospitals

KEPT = {"optimizer_state": "kept", "local_epochs": 0.5, "batch_size": 2, "schedule": "cosine"}


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> list[Site]:
    manifest = write_hospitals(tmp_path_factory.mktemp("kept-hospitals"), SITES)
    return [Site(name, str(manifest), "cpu") for name in SITES]


@pytest.fixture
def run(sites: list[Site], tmp_path: Path) -> Callable[..., Weights]:
    """The model of a study of three rounds."""

    def made(name: str, study: Study, workers: int, state: Path | None = None) -> Weights:
        placed = [replace(site, state=str(state / site.name)) if state else site for site in sites]
        with InProcessGrid(placed, [train for train, _ in SITES.values()], workers) as grid:
            run_study(grid, RunPlan(study, 0, tmp_path / name, "inprocess", expect_sites=4, strict=True))
        return load_weights(tmp_path / name / "model.safetensors")

    return made


def test_workers_and_disks_make_no_difference(run: Callable[..., Weights], tmp_path: Path) -> None:
    study = small_study(training=KEPT, federation={"rounds": 3})
    one, three = run("one", study, 1), run("three", study, 3)
    disk = run("disk", study, 2, tmp_path / "state")
    fresh = run(
        "fresh", small_study(training={**KEPT, "optimizer_state": "fresh"}, federation={"rounds": 3}), 1
    )
    assert norm(subtract(one, three)) == norm(subtract(one, disk)) == 0.0
    assert norm(subtract(one, fresh)) > 1e-4

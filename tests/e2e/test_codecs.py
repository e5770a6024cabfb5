"""A study with a codec gives the same model whatever carries it, and leaves nothing behind."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from common.weights import load_weights, norm, subtract
from tests.e2e.conftest import ROOT
from tests.e2e.test_engines import COMMAND


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantoms' study, three rounds, its updates in int8."""
    text = (ROOT / "examples/phantom.toml").read_text()
    path = tmp_path_factory.mktemp("codec") / "int8.toml"
    path.write_text(text.replace("[federation]\nrounds = 12", '[federation]\ncodec = "int8"\nrounds = 3'))
    return path


@pytest.mark.slow
def test_the_link_gives_the_model_of_the_simulation(study: Path, manifest: Path, tmp_path: Path) -> None:
    for command in ("simulate", "local"):
        arguments = (command, study, "--data", manifest, "--out", tmp_path / command)
        subprocess.run([*COMMAND, *map(str, arguments)], check=True, capture_output=True)
        assert not (tmp_path / command / ".state").exists()
        assert 'codec = "int8"' in (tmp_path / command / "study.toml").read_text()
    simulated, local = (load_weights(tmp_path / name / "model.safetensors") for name in ("simulate", "local"))
    assert norm(subtract(local, simulated)) <= 1e-5

"""Phantom hospitals and a Grid of worker processes, made once for all end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.study import Study, load_study
from deploy.engines.inprocess import InProcessGrid
from deploy.federation import resolve
from deploy.phantom import write_hospitals

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Federation:
    """Phantom hospitals, ready to be asked."""

    manifest: Path
    grid: InProcessGrid
    sites: int

    @staticmethod
    def study(**federation: object) -> Study:
        """The demo study with other values in ``[federation]``."""
        overrides = {f"federation.{key}": (value, "test") for key, value in federation.items()}
        return load_study(ROOT / "examples/phantom.toml", overrides)


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hospitals(tmp_path_factory.mktemp("phantoms") / "hospitals", sites=4, seed=0)


@pytest.fixture(scope="session")
def federation(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    data = resolve(Federation.study(), manifest)
    sites = data.materialise(tmp_path_factory.mktemp("resolved"), "cpu")
    with InProcessGrid(sites, data.loads) as grid:
        yield Federation(manifest, grid, len(sites))

"""What the tests of the intake share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client.cohorts.home import Home
from client.dicom.workers import WorkerPool
from tests.unit.cohorts.archives import new_home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return new_home(tmp_path / "home")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were examined."""
    names: list[str] = []
    real = WorkerPool.map

    def counted(self: Any, items: Any) -> Iterator[Any]:
        for item, result in real(self, items):
            names.append(Path(item.name).name)
            yield item, result

    monkeypatch.setattr(WorkerPool, "map", counted)
    return names

"""A home of its own for each test of the intake."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.cohorts.home import Home
from tests.unit.cohorts.archives import new_home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return new_home(tmp_path / "home")

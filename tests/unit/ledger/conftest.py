"""What the tests of the ledger share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from client.cohorts.home import Home
from client.ledger import Task
from tests.unit.cohorts.archives import new_home
from tests.unit.ledger.benches import Bench, make_task


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is cut in these tests; that data is synced, and in order, the chain's own tests show."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """See :class:`Bench`."""
    return Bench(tmp_path)


@pytest.fixture
def task() -> Callable[..., Task]:
    """See :func:`~tests.unit.ledger.benches.make_task`."""
    return make_task


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A new home."""
    return new_home(tmp_path / "home")

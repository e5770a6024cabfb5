"""Updates that the journal keeps as the files in which they arrived: killed, or damaged, and gone on with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message

from client.site import Site
from common.link.blobs import BlobStore
from common.link.records import described, restored
from tests.faults.conftest import SITES, Runs
from tests.faults.disk import DAMAGES, spoil
from tests.unit.conftest import FaultyGrid

KEEPS = [pytest.param(1 + number, id=f"update-{number}") for number in (1, len(SITES))]
"""Writes of the journal in the first round: it begins, then the updates are kept."""


class FilesGrid(FaultyGrid):
    """Hospitals whose answers arrive as blobs, as over the link; each goes once the next is asked for."""

    def __init__(self, sites: Iterable[Site], folder: Path) -> None:
        super().__init__(list(sites))
        self._store = BlobStore(folder, 2**30)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        self._store.keep(())
        return [self._arrived(message) for message in super().pull_messages(message_ids)]

    def _arrived(self, message: Message) -> Message:
        description, blobs = described(message.content)
        for known, parts in blobs.items():
            self._store.put(parts, known)
        message.content = restored(description, self._store.read)
        return message


@pytest.fixture
def grid(site_of: Callable[..., Site], tmp_path: Path) -> Callable[[], FilesGrid]:
    """Makes the hospitals' Grid."""
    return lambda: FilesGrid([site_of(name) for name in SITES], tmp_path / "blobs")


def model(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.fault(
    "the coordinator ends (`kill -9`) before or after it keeps an update as the file in which it arrived",
    "started again, it goes on with the updates that it has; the model is bit-equal",
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", KEEPS)
def test_the_coordinator_is_killed(
    runs: Runs, whole: Path, grid: Callable[[], FilesGrid], write: int, after: bool
) -> None:
    runs.go("cut", grid(), dies_at=write, after=after)
    kept = list((runs.folder / "cut").glob("rounds/0001/train/*"))
    assert len(kept) == write - 1 - (not after) and all(path.suffix == ".blob" for path in kept)
    runs.go("cut", grid())
    assert model(runs.folder / "cut") == model(whole)
    assert not (runs.folder / "cut/rounds").exists()


@pytest.mark.fault(
    "an update that the coordinator keeps as the file in which it arrived is damaged",
    "the site is asked for it again; the model is the same",
)
@pytest.mark.parametrize("damage", ["a bit in the middle", "a bit at its end", "cut off", "empty"])
def test_a_kept_file_is_damaged(runs: Runs, whole: Path, grid: Callable[[], FilesGrid], damage: str) -> None:
    runs.go("cut", grid(), dies_at=1 + 2, after=True)
    first, second = sorted((runs.folder / "cut").glob("rounds/0001/train/*.blob"))
    spoil(first, DAMAGES[damage])
    again: Any = grid()
    runs.go("cut", again)
    assert model(runs.folder / "cut") == model(whole)
    trained = [site for kind, site in again.asked if kind == "train"]
    assert trained.count(first.stem) == 1 + 1 and trained.count(second.stem) == 1

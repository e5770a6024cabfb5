"""Arrays over a mapped file say which, and where in it they lie; all others say nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from common.link.blobs import BlobStore
from common.link.records import described, restored
from common.mapped import lying
from common.tasks import contribution_content, read_contribution
from common.update import Contribution
from common.weights import FileWeights, digest

DELTA: dict[str, NDArray[Any]] = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array([0.5, -0.5], dtype=np.float64),
    "count": np.array(3, dtype=np.int64),
    "on": np.array([True, False]),
}


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs", 2**20)


def arrived(store: BlobStore, delta: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """An update as the coordinator reads it that a site has sent."""
    content = contribution_content(Contribution("alder", 1, "0" * 64, delta, 3, loss=0.5))
    description, blobs = described(content)
    for known, parts in blobs.items():
        store.put(parts, known)
    return dict(read_contribution(restored(description, store.read), like=delta).delta)


def test_an_update_lies_in_the_blob_that_it_arrived_in(store: BlobStore) -> None:
    delta = arrived(store, DELTA)
    found = lying({name: delta[name] for name in sorted(delta)})
    assert found is not None
    assert [found.file.path] == [path for path in store.folder.iterdir() if len(path.name) == 64]
    assert digest(FileWeights(found.file.path, found.places)) == digest(DELTA)


def test_bytes_of_any_order_are_read_as_what_they_are(store: BlobStore) -> None:
    known = store.put([DELTA["w"].astype(">f4").tobytes()])
    swapped = np.frombuffer(store.read(known), ">f4").reshape(2, 3)
    found = lying({"w": swapped})
    assert found is not None
    assert np.array_equal(FileWeights(found.file.path, found.places)["w"], DELTA["w"])


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.copy(),
        lambda w: w + 0,
        lambda w: w.T,
        lambda w: w[:, 1:],
        lambda w: DELTA["w"],
        lambda w: w.astype(np.float64),
    ],
    ids=["copied", "worked out", "turned", "cut", "in memory", "cast"],
)
def test_what_is_not_the_bytes_of_the_file_lies_nowhere(store: BlobStore, change: Any) -> None:
    delta = arrived(store, DELTA)
    assert lying({**delta, "w": change(delta["w"])}) is None


def test_arrays_of_two_files_lie_in_none(store: BlobStore) -> None:
    delta, other = arrived(store, DELTA), arrived(store, {**DELTA, "b": DELTA["b"] + 1})
    assert lying({**delta, "w": other["w"]}) is None


def test_weights_that_are_read_or_made_lie_nowhere(store: BlobStore) -> None:
    found = lying(arrived(store, DELTA))
    assert found is not None and lying(FileWeights(found.file.path, found.places)) is None
    assert lying({}) is None

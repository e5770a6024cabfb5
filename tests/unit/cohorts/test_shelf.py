"""Batches of an intake: pixels last before the rows that name them, and an interruption costs one batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import Connection

from client.cohorts import shelf as module
from client.cohorts.catalogue import Catalogue, CohortRow, SeenFile
from client.cohorts.home import Home
from client.cohorts.rules import Rules
from client.cohorts.shelf import Shelf
from client.cohorts.store import PIXEL_FILE, PixelStore, PixelWriter
from client.dicom.examination import Taken
from client.dicom.outcomes import Outcome
from client.dicom.pixels import Display, Pixels, digest_of
from common.errors import DiskFull
from tests.unit.cohorts.archives import values
from tests.unit.cohorts.test_catalogue import INSTANCE


@pytest.fixture
def catalogue(home: Home) -> Iterator[Catalogue]:
    with closing(Catalogue(home.database)) as opened:
        opened.create("c", Rules())
        yield opened


@contextmanager
def shelf_of(home: Home, catalogue: Catalogue) -> Iterator[Shelf]:
    cohort = catalogue.cohort("c")
    writer = PixelWriter(home.cohort_folder("c"), cohort.stored_bytes)
    with closing(Shelf(catalogue, cohort, 1, writer)) as shelf:
        yield shelf


def put(shelf: Shelf, number: int, pixels: NDArray[Any] | None = None) -> None:
    frames = values(number, shape=(1, 4, 4)) if pixels is None else pixels
    taken = Taken(INSTANCE, Pixels(frames, Display()), digest_of(frames))
    shelf.put(SeenFile(f"mark{number}", "1:1", Outcome.case, decoded=True), taken)


def state(home: Home, catalogue: Catalogue) -> tuple[int, int]:
    """Files and arrays that the database knows; every array must be whole."""
    cohort: CohortRow = catalogue.cohort("c")
    blobs = catalogue.blobs(cohort.id)
    store = PixelStore(home.cohort_folder("c"), blobs)
    assert all(store.intact(digest) for digest in blobs)
    assert {image.digest for image in catalogue.images(cohort.id)} <= blobs.keys()
    return len(catalogue.stamps(cohort.id)), len(blobs)


def test_nothing_is_known_before_it_is_committed(home: Home, catalogue: Catalogue) -> None:
    with shelf_of(home, catalogue) as shelf:
        put(shelf, 1)
        assert state(home, catalogue) == (0, 0)
        shelf.commit()
        assert state(home, catalogue) == (1, 1)
        put(shelf, 2)
    assert state(home, catalogue) == (1, 1)  # forgotten
    with shelf_of(home, catalogue) as shelf:
        put(shelf, 2)
        shelf.commit()
    assert state(home, catalogue) == (2, 2)


def test_an_array_is_stored_once(home: Home, catalogue: Catalogue) -> None:
    same = np.zeros((1, 4, 4), dtype=np.uint16)
    for first in (1, 3):
        with shelf_of(home, catalogue) as shelf:
            put(shelf, first, same)
            put(shelf, first + 1, same)
            assert shelf.keep(same) == digest_of(same)
            shelf.commit()
    assert state(home, catalogue) == (4, 1)
    assert (home.cohort_folder("c") / PIXEL_FILE).stat().st_size == same.nbytes


def test_batches_are_committed_by_number_and_by_time(
    home: Home, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMMIT_FILES", 3)
    with shelf_of(home, catalogue) as shelf:
        for number in range(7):
            put(shelf, number)
        assert state(home, catalogue) == (6, 6)
        monkeypatch.setattr(module, "COMMIT_S", 0.0)
        put(shelf, 7)
        assert state(home, catalogue) == (8, 8)


def test_pixels_that_do_not_last_have_no_rows(
    home: Home, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with shelf_of(home, catalogue) as shelf:
        put(shelf, 1)
        with monkeypatch.context() as patch, pytest.raises(DiskFull):
            patch.setattr(os, "fsync", full)
            shelf.commit()
        assert state(home, catalogue) == (0, 0)


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_a_commit_that_is_interrupted_is_not_made_twice(
    home: Home, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    """By Ctrl-C, say, right before the transaction ends or right after; the intake then commits once more."""
    real = catalogue.transaction

    @contextmanager
    def interrupted() -> Iterator[Connection]:
        with real() as connection:
            yield connection
            if not done:
                raise KeyboardInterrupt
        raise KeyboardInterrupt

    with shelf_of(home, catalogue) as shelf:
        put(shelf, 1)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(catalogue, "transaction", interrupted)
            shelf.commit()
        shelf.commit()
    assert state(home, catalogue) == ((1, 1) if done else (0, 0))
    with shelf_of(home, catalogue) as shelf:
        put(shelf, 1)
        put(shelf, 2)
        shelf.commit()
    assert state(home, catalogue) == (2, 2)
    assert Path(home.cohort_folder("c") / PIXEL_FILE).stat().st_size <= 3 * 64

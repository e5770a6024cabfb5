"""Masks find the pictures that they were drawn on, by name or by place, or are nobody's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from client.cohorts.assembly import TAKEN, Assembly
from client.cohorts.catalogue import StoredImage
from client.cohorts.masking import ORPHAN, USED, put_masks
from client.cohorts.rules import Rules
from client.cohorts.store import PixelStore, PixelWriter
from client.dicom.outcomes import Outcome
from client.dicom.pixels import digest_of
from client.dicom.place import Frame, Plane
from tests.unit.cohorts.stored import SHAPE, assembled, frame, plane, stored

HEIGHTS = (0.0, 2.0, 4.0)
DRAWN = np.arange(3 * SHAPE[0] * SHAPE[1], dtype=np.uint8).reshape(3, *SHAPE) % 3
Masks = list[tuple[StoredImage, NDArray[np.uint8]]]


def volume(first: int, patient: str = "P-A", series: str = "1", **more: Any) -> list[StoredImage]:
    return [
        stored(first + n, [frame(n + 1, z)], patient=patient, series=series, **more)
        for n, z in enumerate(HEIGHTS)
    ]


def mask(
    file: int, *named: str, values: NDArray[np.uint8] = DRAWN, space: str = "", at: Plane | None = None
) -> tuple[StoredImage, NDArray[np.uint8]]:
    """A mask of the planes that a volume has, or of planes from ``at`` on."""
    first = at or plane(0.0)
    x, y, z = first.position_mm
    planes = [replace(first, position_mm=(x, y, z + height)) for height in HEIGHTS]
    image = stored(
        file,
        [Frame(plane=each) for each in planes],
        patient="",
        series="",
        sop=f"mask-{digest_of(values)}",
        digest=digest_of(values),
        space=space,
        mask=True,
        referenced=tuple(named),
        apart_mm=2.0,
    )
    return image, values


def put(
    folder: Path, images: list[StoredImage], masks: Masks, rules: Rules | None = None
) -> tuple[Assembly, Any]:
    """The assembly with masks, and the mask of each case by its patient and series."""
    writer = PixelWriter(folder, 0)
    blobs = {image.digest: writer.append(values, image.digest) for image, values in masks}
    writer.sync()
    kept: dict[str, NDArray[Any]] = {}

    def keep(array: NDArray[Any]) -> str:
        kept[digest_of(array)] = array
        return digest_of(array)

    before = assembled(images, rules or Rules("slices"))
    store = PixelStore(folder, blobs)
    after = put_masks(before, [*images, *(image for image, _ in masks)], store, keep)
    writer.close()
    found = {(d.case.patient, d.series): kept.get(d.case.content.mask) for d in after.drafts}
    return after, found


@pytest.mark.parametrize(
    "name", ["sop-1", "1", "study-of-P-A", "P-A"], ids=["object", "series", "study", "patient"]
)
def test_a_mask_belongs_to_what_it_names(tmp_path: Path, name: str) -> None:
    images = [*volume(0), *volume(10, "P-B", "2")]
    after, found = put(tmp_path, images, [mask(20, name)])
    assert np.array_equal(found["P-A", "1"], DRAWN) and found["P-B", "2"] is None
    assert after.outcomes[20] == USED and after.outcomes[0] == TAKEN
    assert after.notes["cases without mask"] == 1


def test_a_mask_of_a_patient_is_laid_on_all_that_lies_there(tmp_path: Path) -> None:
    images = [*volume(0), *volume(10, series="2"), stored(15, [frame(1, 100.0)], series="3")]
    _, found = put(tmp_path, images, [mask(20, "P-A")])
    assert np.array_equal(found["P-A", "1"], DRAWN) and np.array_equal(found["P-A", "2"], DRAWN)
    assert found["P-A", "3"] is None


def test_a_mask_without_names_belongs_to_what_lies_in_its_place(tmp_path: Path) -> None:
    images = [*volume(0), *volume(10, "P-B", "2", space="other")]
    after, found = put(tmp_path, images, [mask(20, space="space-of-P-A")])
    assert np.array_equal(found["P-A", "1"], DRAWN) and found["P-B", "2"] is None
    assert after.outcomes[20] == USED


def test_a_place_that_two_series_have_says_nothing(tmp_path: Path) -> None:
    images = [*volume(0), *volume(10, "P-B", "2")]
    after, found = put(tmp_path, images, [mask(20)])
    assert set(map(type, found.values())) == {type(None)}
    assert after.outcomes[20] == ORPHAN
    assert after.notes["masks without a case"] == 1 and after.notes["cases without mask"] == 2


@pytest.mark.parametrize(
    "lost",
    [
        mask(20, at=plane(500.0)),
        mask(20, "P-A", at=plane(0.0, x=900.0)),  # named, and beside the pictures
        mask(20, "P-Z", space="space-of-P-Z"),
    ],
    ids=["above", "beside", "stranger"],
)
def test_a_mask_that_lies_elsewhere_is_nobodys(
    tmp_path: Path, lost: tuple[StoredImage, NDArray[np.uint8]]
) -> None:
    after, found = put(tmp_path, volume(0), [lost])
    assert found["P-A", "1"] is None and after.outcomes[20] == ORPHAN


def test_pictures_without_a_place_have_no_masks(tmp_path: Path) -> None:
    after, _ = put(tmp_path, [stored(0)], [mask(20, "P-A", "sop-0")], Rules())
    assert after.outcomes[20] == ORPHAN and after.drafts[0].case.content.mask == ""


def test_several_masks_of_one_case_are_one(tmp_path: Path) -> None:
    one, other = DRAWN * (DRAWN == 1), DRAWN * (DRAWN == 2)
    after, found = put(tmp_path, volume(0), [mask(20, "1", values=one), mask(21, "P-A", values=other)])
    assert np.array_equal(found["P-A", "1"], DRAWN)
    assert after.outcomes[20] == after.outcomes[21] == USED
    assert "cases with masks that contradict each other" not in after.notes


@pytest.mark.parametrize("turned", [False, True])
def test_masks_that_contradict_each_other_are_not_laid(tmp_path: Path, turned: bool) -> None:
    masks = [mask(20, "1"), mask(21, "1", values=(3 - DRAWN) * (DRAWN > 0)), mask(22, "1", values=DRAWN * 0)]
    after, found = put(tmp_path, volume(0), masks[::-1] if turned else masks)
    assert found["P-A", "1"] is None
    assert after.notes["cases with masks that contradict each other"] == 1


def test_the_same_mask_twice_is_a_duplicate(tmp_path: Path) -> None:
    after, found = put(tmp_path, volume(0), [mask(20, "1"), mask(21, "1")])
    assert np.array_equal(found["P-A", "1"], DRAWN)
    assert after.outcomes[20] == USED and after.outcomes[21] == (Outcome.duplicate, "")


def test_masks_that_are_alike_are_each_their_patients_own(tmp_path: Path) -> None:
    """Two patients without a finding, in the same place of the scanner: masks that are empty."""
    empty = np.zeros_like(DRAWN)
    images = [*volume(0), *volume(10, "P-B", "2")]
    after, found = put(tmp_path, images, [mask(20, "P-A", values=empty), mask(21, "P-B", values=empty)])
    assert np.array_equal(found["P-A", "1"], empty) and np.array_equal(found["P-B", "2"], empty)
    assert after.outcomes[20] == after.outcomes[21] == USED


def test_without_masks_nothing_is_said_of_them(tmp_path: Path) -> None:
    before = assembled(volume(0), Rules("slices"))
    after, _ = put(tmp_path, volume(0), [])
    assert after.notes == before.notes and after.drafts == before.drafts

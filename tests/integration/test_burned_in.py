"""Writing in pictures is suspected by what the header says and found by what the pixels show."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset, dcmread
from pydicom.uid import (
    CTImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from client.dicom.deidentification.burned_in import has_writing, suspicion

LINE = "MUSTERMANN^ERIKA 12.03.1957"
WRITTEN = {
    "037.dcm",
    "053.dcm",
    "043.dcm",
    "044.dcm",
    "077",
    "084",
    "090.dcm",
    "109.dcm",
    "118.dcm",
    "135.dcm",
    "143.dcm",
}
"""Files of the bag that show writing, as seen by eye."""


def header(modality: str = "CR", **attributes: Any) -> Dataset:
    dataset = Dataset()
    dataset.Modality, dataset.SOPClassUID = modality, CTImageStorage
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


@lru_cache
def anatomy(side: int = 512, seed: int = 0) -> NDArray[np.float64]:
    """A body-like picture in [0, 1]: smooth shapes, some grain, a dark border."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]  # type: ignore[misc]
    body = np.clip(1.2 - (x / 0.7) ** 2 - (y / 0.8) ** 2, 0, 1)
    for _ in range(12):
        cx, cy, r = random.uniform((-0.5, -0.5, 0.05), (0.5, 0.5, 0.2))
        body += 0.1 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / r**2) * (body > 0)
    picture = np.clip(body / body.max() * 0.9 + 0.01 * random.standard_normal(body.shape), 0, 1)
    picture.flags.writeable = False
    return np.asarray(picture)


def with_line(
    picture: NDArray[np.float64], size: int, place: tuple[int, int], ink: float = 1.0
) -> NDArray[np.float64]:
    """The picture with ``LINE`` written into it."""
    mask = Image.new("L", picture.shape[::-1])
    ImageDraw.Draw(mask).text(place, LINE, fill=255, font=ImageFont.load_default(size))
    part = np.asarray(mask, dtype=np.float64) / 255
    return picture * (1 - part) + ink * part


def stored(picture: NDArray[np.float64], dtype: str) -> NDArray[Any]:
    greatest = {"uint8": 255, "uint16": 4095, "int16": 1500, "float32": 1}[dtype]
    return (picture * greatest).astype(dtype)


# What the header says


@pytest.mark.parametrize("modality", ["CT", "MR", "US", "CR"])
def test_a_declared_annotation_is_believed(modality: str) -> None:
    frames = stored(anatomy(64), "uint16")[None]
    assert suspicion(header(modality, BurnedInAnnotation="YES"), frames) == "declared"


@pytest.mark.parametrize(
    "dataset",
    [
        header("US"),
        header("ES"),
        header("XC"),
        header("OT"),
        header("CT", SOPClassUID=SecondaryCaptureImageStorage),
        header("MR", SOPClassUID=MultiFrameGrayscaleByteSecondaryCaptureImageStorage),
        header("CT", ConversionType="WSD"),
        header("CT", ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"]),
        header("MR", ImageType="SCREENSHOT"),
    ],
)
def test_kinds_that_often_carry_names_must_deny_it(dataset: Dataset) -> None:
    frames = stored(anatomy(64), "uint16")[None]
    assert suspicion(dataset, frames) == "modality"
    dataset.BurnedInAnnotation = "NO"
    assert suspicion(dataset, frames) is None


@pytest.mark.parametrize("modality", ["CT", "MR", "PT", "CR", "DX", "MG", "XA"])
def test_other_kinds_without_writing_are_not_suspected(modality: str) -> None:
    assert suspicion(header(modality), stored(anatomy(), "uint16")[None]) is None


# What the pixels show


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("size", [12, 16, 24, 40])
@pytest.mark.parametrize("place", [(8, 8), (60, 460), (130, 240)], ids=["top", "bottom", "amid"])
def test_a_line_of_writing_is_found(dtype: str, size: int, place: tuple[int, int]) -> None:
    assert has_writing(stored(with_line(0.75 * anatomy(640), size, place), dtype))


def test_dark_writing_on_a_light_ground_is_found() -> None:
    assert has_writing(stored(with_line(1 - 0.8 * anatomy(), 16, (8, 8), ink=0.0), "uint16"))


def test_writing_in_a_large_picture_is_found() -> None:
    assert has_writing(stored(with_line(anatomy(2500), 60, (40, 40)), "uint16"))


@pytest.mark.parametrize("seed", range(8))
def test_pictures_without_writing_are_passed(seed: int) -> None:
    assert not has_writing(stored(anatomy(seed=seed), "uint16"))


@pytest.mark.parametrize(
    "picture",
    [
        np.random.default_rng(0).random((512, 512)),
        np.zeros((64, 64)),
        np.full((512, 512), np.nan),
        np.tile(np.linspace(0, 1, 512), (512, 1)),
        np.kron(np.indices((32, 32)).sum(axis=0) % 2, np.ones((16, 16))),
        np.zeros((8, 8)),
        np.ones((1, 700)),
    ],
    ids=["noise", "black", "no-number", "ramp", "chessboard", "tiny", "one-row"],
)
def test_patterns_that_are_no_writing_are_passed(picture: NDArray[Any]) -> None:
    assert not has_writing(picture)


def test_a_ruler_is_no_writing() -> None:
    ruler = np.zeros((512, 512))
    ruler[480:492, 100:400:10] = 1
    assert not has_writing(ruler)


def test_a_side_marker_is_no_writing() -> None:
    mask = Image.new("L", (512, 512))
    ImageDraw.Draw(mask).text((420, 40), "R", fill=255, font=ImageFont.load_default(40))
    assert not has_writing(np.maximum(anatomy() * 255, np.asarray(mask)))


def test_writing_is_found_though_the_header_denies_it() -> None:
    frames = stored(with_line(anatomy(), 16, (8, 8)), "uint8")[None]
    assert suspicion(header("US", BurnedInAnnotation="NO"), frames) == "text-found"


@pytest.mark.parametrize(
    ("dataset", "found"),
    [
        (header("CT"), None),
        (header("MR", ImageType=["ORIGINAL", "PRIMARY"]), None),
        (header("CT", ImageType=["DERIVED", "SECONDARY"]), "text-found"),
        (header("DX"), "text-found"),
        (header("SEG"), None),
    ],
)
def test_computed_pictures_are_looked_at_only_if_secondary(dataset: Dataset, found: str | None) -> None:
    assert suspicion(dataset, stored(with_line(anatomy(), 16, (8, 8)), "uint16")[None]) == found


def test_pictures_of_eight_bits_are_looked_at_whatever_they_are() -> None:
    assert suspicion(header("MR"), stored(with_line(anatomy(), 16, (8, 8)), "uint8")[None]) == "text-found"


@pytest.mark.parametrize("frame", [0, 5, 10])
def test_the_first_the_middle_and_the_last_of_many_frames_are_looked_at(frame: int) -> None:
    frames = np.stack([stored(anatomy(256), "uint16")] * 11)
    frames[frame] = stored(with_line(anatomy(256), 12, (8, 8)), "uint16")
    assert suspicion(header("XA"), frames) == "text-found"


# Real pictures


def real_frames(path: Path) -> NDArray[Any]:
    dataset = dcmread(path, force=True)
    pixels = dataset.pixel_array
    if int(dataset.get("SamplesPerPixel") or 1) > 1:
        pixels = pixels.mean(axis=-1).astype(pixels.dtype)
    return pixels[None] if pixels.ndim == 2 else pixels


@pytest.mark.filterwarnings("ignore")  # pydicom's, of broken files
@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_writing_in_real_pictures_is_found(name: str, data_folder: Path) -> None:
    assert has_writing(real_frames(data_folder / "dicom" / "bag" / name)[0])


@pytest.mark.filterwarnings("ignore")
def test_real_slices_are_not_suspected(data_folder: Path) -> None:
    suspected = []
    for path in sorted((data_folder / "dicom" / "series").glob("*/*")):
        dataset = dcmread(path)
        if suspicion(dataset, dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)):
            suspected.append(path.name)
    assert suspected == []


@pytest.mark.slow
def test_lines_written_into_real_pictures_are_found_and_pictures_without_are_passed(
    data_folder: Path,
) -> None:
    """The measurement that docs/dicom.md reports: chest films and slices, resized to 512 x 512."""
    random = np.random.default_rng(0)
    paths = [
        path
        for name in ("cxr", "brain_mri", "lung_ct", "cardiac_mr")
        for path in sorted((data_folder / "images" / name).rglob("*.png"))[::10]
    ]
    lines, found, flagged = 0, 0, 0
    for path in paths:
        picture = np.asarray(Image.open(path).convert("L").resize((512, 512)), dtype=np.float64) / 255
        flagged += has_writing(stored(picture, "uint8"))
        size, place = int(random.integers(12, 41)), (8, int(random.choice([8, 440])))
        lines += 1
        found += has_writing(stored(with_line(0.9 * picture, size, place), "uint8"))
    assert lines > 150
    assert found / lines >= 0.9
    assert flagged / lines <= 0.01

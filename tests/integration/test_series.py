"""Real series and objects come into their right order, whatever the order of their files."""

from __future__ import annotations

import gzip
import os
import random
import warnings
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel
import numpy as np
import pytest
from pydicom import Dataset, dcmread

from client.dicom.geometry.arranging import Stack, arrange
from client.dicom.geometry.frames import frames_of
from client.dicom.geometry.mosaics import mosaic_of
from client.dicom.masks import matches, place, seg_mask
from client.dicom.outcomes import Quarantined, Reason
from client.dicom.place import Frame

SHUFFLES = ["sorted", "reversed", 1, 2, 3]


def opened(source: Any) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dcmread(source, force=True)


def series(folder: Path, name: str, shuffle: str | int) -> list[Dataset]:
    paths = sorted((folder / "dicom" / "series" / name).iterdir())
    if shuffle == "reversed":
        paths.reverse()
    elif isinstance(shuffle, int):
        random.Random(shuffle).shuffle(paths)
    return [opened(path) for path in paths]


def bag(folder: Path, number: int) -> Dataset:
    (path,) = (folder / "dicom" / "bag").glob(f"{number:03d}*")
    return opened(path)


def placed(dataset: Dataset) -> tuple[Frame, ...]:
    """The object's frames, a mosaic's slices counted as such."""
    mosaic = mosaic_of(dataset)
    return frames_of(dataset, len(mosaic.planes) if mosaic else int(dataset.get("NumberOfFrames") or 1))


def only(frames: list[Frame]) -> Stack:
    found = arrange(frames)
    assert (found.unplaced, found.findings) == ((), ())
    (stack,) = found.stacks
    assert stack.aside == ()
    return stack


def codes(stack: Stack) -> dict[str, tuple[float, ...]]:
    return {finding.code.value: finding.numbers for finding in stack.findings}


@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_functional_series_of_ge(data_folder: Path, shuffle: str | int) -> None:
    """60 files that differ in nothing but position and instance number: 4 volumes of 15 slices."""
    objects = series(data_folder, "mr_ge_fmri", shuffle)
    frames = [frame for one in objects for frame in placed(one)]
    stack = only(frames)
    numbers = [[int(objects[index].InstanceNumber) for index in row] for row in stack.grid]
    assert numbers == [list(range(15 * t + 1, 15 * t + 16)) for t in range(4)]
    assert stack.spacing_mm == (5, 3.75, 3.75)
    assert codes(stack) == {"times-by-number": (4,)}
    spacing, order = hd.spatial.get_series_volume_positions([objects[index] for index in stack.grid[0]])
    assert spacing == pytest.approx(5, abs=1e-4) and order is not None
    assert order in (list(range(15)), list(range(14, -1, -1)))  # highdicom's own sense


@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_diffusion_series_of_united_imaging(data_folder: Path, shuffle: str | int) -> None:
    """17 files with a mosaic of 20 slices each: b = 0, then 16 directions."""
    objects = series(data_folder, "mr_uih_dti", shuffle)
    frames = [frame for one in objects for frame in placed(one)]
    stack = only(frames)
    assert (len(stack.grid), len(stack.grid[0])) == (17, 20)
    assert [frames[row[0]].number[0] for row in stack.grid] == list(range(1, 18))
    assert stack.spacing_mm == (pytest.approx(4.2, abs=1e-5), 3.5, 3.5)  # Spacing Between Slices (0018,0088)
    assert codes(stack) == {"times-by-number": (17,)}
    first = next(one for one in objects if int(one.InstanceNumber) == 1)
    stated = [
        [float(x) for x in one.ImagePositionPatient]
        for one in first.private_block(0x65, "Image Private Header")[0x51]
    ]
    positions = [plane.position_mm for index in stack.grid[0] if (plane := frames[index].plane)]
    assert np.allclose(positions, sorted(stated, key=lambda position: position[2]))


def test_mosaic_is_cut_into_its_slices(data_folder: Path) -> None:
    one = series(data_folder, "mr_uih_dti", "sorted")[0]
    mosaic = mosaic_of(one)
    assert mosaic is not None
    slices = mosaic.cut(one.pixel_array)
    assert slices.shape == (20, 64, 64)
    assert np.array_equal(slices[7], one.pixel_array[64:128, 128:192])  # second row, third column
    assert slices.sum() == one.pixel_array.sum()


@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_tilted_head_of_ge(data_folder: Path, shuffle: str | int) -> None:
    """3 of 17 slices, 33.76 and 37 mm of table apart, the gantry at 18.5 degrees."""
    objects = series(data_folder, "ct_ge_head", shuffle)
    stack = only([frame for one in objects for frame in placed(one)])
    assert [int(objects[index].InstanceNumber) for index in stack.grid[0]] == [1, 9, 17]
    tilt = float(objects[0].GantryDetectorTilt)
    least, most = (table * np.cos(np.radians(tilt)) for table in (33.76, 37.0))
    assert stack.spacing_mm == (pytest.approx(least, abs=1e-3), 0.4882812, 0.4882812)
    assert codes(stack)["gantry-tilt"] == (pytest.approx(tilt, abs=0.01),)
    assert codes(stack)["uneven-spacing"] == pytest.approx((least, most), abs=2e-3)


def test_a_slice_that_is_missing_is_found(data_folder: Path) -> None:
    objects = [one for one in series(data_folder, "mr_ge_fmri", 1) if int(one.InstanceNumber) <= 15]
    rest = [one for one in objects if int(one.InstanceNumber) != 7]
    stack = only([frame for one in rest for frame in placed(one)])
    assert [int(rest[index].InstanceNumber) for index in stack.grid[0]] == [*range(1, 7), *range(8, 16)]
    assert codes(stack) == {"missing-slices": (1, 5)}  # after the sixth, counted from 0


@pytest.mark.parametrize("lost", [1, 20, 45, 60])
def test_a_volume_that_is_not_whole_is_left_aside(data_folder: Path, lost: int) -> None:
    objects = [one for one in series(data_folder, "mr_ge_fmri", 2) if int(one.InstanceNumber) != lost]
    (stack,) = arrange([frame for one in objects for frame in placed(one)]).stacks
    numbers = [[int(objects[index].InstanceNumber) for index in row] for row in stack.grid]
    whole = [t for t in range(4) if t != (lost - 1) // 15]
    assert numbers == [list(range(15 * t + 1, 15 * t + 16)) for t in whole]
    assert codes(stack)["ragged-times"] == (14,) and len(stack.aside) == 14


@pytest.mark.parametrize(
    ("number", "moments", "slices", "spacing"),
    [
        (26, 4, 8, (3.3125, 3.3125, 3.3125)),  # Philips, enhanced: moments within each slice
        (38, 1, 6, (2.4, 3.375, 3.375)),  # Siemens, enhanced
        (113, 1, 8, (5.0, 1.61, 1.59)),  # Hyperfine, enhanced
        (65, 1, 3, (2.5, 0.7, 0.7)),  # converted by PixelMed; In-Stack Position runs backwards
        (54, 1, 15, (5.0, 10.0, 10.0)),  # a dose grid
        (133, 1, 20, (4.2, 3.5, 3.5)),  # United Imaging, a mosaic
    ],
)
def test_multi_frame_objects(
    data_folder: Path, number: int, moments: int, slices: int, spacing: tuple[float, ...]
) -> None:
    frames = placed(bag(data_folder, number))
    stack = only(list(frames))
    assert (len(stack.grid), len(stack.grid[0])) == (moments, slices)
    assert stack.spacing_mm == pytest.approx(spacing, abs=1e-3)
    for row in stack.grid:
        heights = [plane.position_mm[2] for index in row if (plane := frames[index].plane)]
        assert len(heights) == slices and heights == sorted(heights)


def test_philips_moments_follow_the_temporal_index(data_folder: Path) -> None:
    dataset = bag(data_folder, 26)
    groups = dataset.PerFrameFunctionalGroupsSequence
    for moment, row in enumerate(only(list(placed(dataset))).grid, start=1):
        content = [groups[index].FrameContentSequence[0] for index in row]
        assert [one.TemporalPositionIndex for one in content] == [moment] * 8
        assert [one.InStackPositionNumber for one in content] == list(range(1, 9))


def test_ultrasound_film(data_folder: Path) -> None:
    """SonoSite, 30 frames of 33.333 ms; its regions were measured on a picture twice as large."""
    frames = placed(bag(data_folder, 108))
    stack = only(list(frames))
    assert stack.grid == tuple((index,) for index in range(30))
    assert stack.spacing_mm is None
    assert frames[29].time[-1] == pytest.approx(29 * 0.033333)


def test_every_object_of_the_bag_has_frames(data_folder: Path) -> None:
    """None raises; what has a sound plane in its header has it here as well."""
    found: Counter[bool] = Counter()
    for path in sorted((data_folder / "dicom" / "bag").iterdir()):
        dataset = opened(path)
        frames = frames_of(dataset, 2)
        assert len(frames) == 2
        frame = frames_of(dataset, 1)[0]
        if "ImagePositionPatient" in dataset and "VFRAME" not in dataset.get("ImageType", ()):
            found[frame.plane is not None] += 1
    assert found[False] == 0 and found[True] > 30


@pytest.mark.parametrize("number", [48, 57, 107, 138, 139])
def test_segmentations_agree_with_highdicom(data_folder: Path, number: int) -> None:
    dataset = bag(data_folder, number)
    pixels = dataset.pixel_array
    mask = seg_mask(dataset, pixels.reshape(-1, *pixels.shape[-2:]))
    oracle = hd.seg.Segmentation.from_dataset(dataset).get_volume(combine_segments=True)
    inverse = np.linalg.inv(oracle.affine)
    for plane, values in zip(mask.planes, mask.values, strict=True):
        at, row, column, _ = inverse @ (*plane.position_mm, 1)
        assert (row, column) == pytest.approx((0, 0), abs=1e-3)
        assert np.array_equal(values, oracle.array[round(at)])
    assert mask.values.any()
    assert np.array_equal(place(mask, mask.planes, pixels.shape[-2:]), mask.values)
    assert mask.referenced >= {item.SeriesInstanceUID for item in dataset.ReferencedSeriesSequence}


def test_segmentation_lies_on_the_slice_it_was_drawn_on(data_folder: Path) -> None:
    dataset, picture = bag(data_folder, 48), bag(data_folder, 70)
    mask = seg_mask(dataset, dataset.pixel_array)
    frame = placed(picture)[0]
    assert frame.plane is not None
    laid = place(mask, [frame.plane], (int(picture.Rows), int(picture.Columns)))
    assert laid.shape == (1, 38, 23)
    assert np.array_equal(laid[0], mask.values[2, :, :23])  # the mask is a column wider
    assert matches(mask, [frame.plane]) == 1


@pytest.mark.parametrize("number", [47, 103, 114])  # fractional; on a slide; on a picture without place
def test_segmentations_that_are_not_read(data_folder: Path, number: int) -> None:
    dataset = bag(data_folder, number)
    pixels = dataset.pixel_array
    with pytest.raises(Quarantined) as caught:
        seg_mask(dataset, pixels.reshape(-1, *pixels.shape[-2:]))
    assert caught.value.reason is Reason.mask_unread


def of_nibabel(name: str) -> Dataset:
    """A scan that nibabel brings for its own tests."""
    path = Path(nibabel.__file__).parent / "nicom" / "tests" / "data" / name
    if not path.is_file():
        if os.environ.get("CONSILIUM_REQUIRE_PARTS") == "1":
            pytest.fail(f"nibabel no longer brings {name}")
        pytest.skip(f"this nibabel has no {name}")
    return opened(BytesIO(gzip.decompress(path.read_bytes())))


def test_siemens_mosaics_agree_with_nibabel() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel's readers of DICOM call themselves experimental
        from nibabel.nicom import dicomwrappers

    objects = [of_nibabel(f"siemens_dwi_{b}.dcm.gz") for b in (1000, 0)]
    for dataset in objects:
        mosaic, oracle = mosaic_of(dataset), dicomwrappers.wrapper_from_data(dataset)  # type: ignore[no-untyped-call]
        assert mosaic is not None
        assert np.array_equal(mosaic.cut(dataset.pixel_array).transpose(1, 2, 0), oracle.get_unscaled_data())
        positions = [plane.position_mm for plane in mosaic.planes if plane is not None]
        expected = [(oracle.affine @ (0, 0, at, 1))[:3] for at in range(48)]
        assert np.allclose(positions, expected, atol=1e-3)
    frames = [frame for dataset in objects for frame in placed(dataset)]
    stack = only(frames)
    assert stack.grid == (tuple(range(48, 96)), tuple(range(48)))  # b = 0 goes first
    assert stack.spacing_mm == (pytest.approx(3, abs=1e-4), 1.796875, 1.796875)


def test_philips_volume_agrees_with_highdicom() -> None:
    """176 sagittal slices, from the right of the patient to the left."""
    dataset = of_nibabel("philips_mprage.dcm.gz")
    frames = placed(dataset)
    stack = only(list(frames))
    planes = [plane for index in stack.grid[0] if (plane := frames[index].plane)]
    positions = [plane.position_mm for plane in planes]
    axes = [*planes[0].row, *planes[0].column]
    spacing, order = hd.spatial.get_volume_positions(positions, axes)
    assert stack.spacing_mm is not None and spacing == pytest.approx(stack.spacing_mm[0], abs=1e-4)
    assert order in (list(range(176)), list(range(175, -1, -1)))
    assert positions[0][0] < positions[-1][0] and len(planes) == 176

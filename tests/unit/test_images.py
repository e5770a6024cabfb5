"""The simple reading path: what each format means, and that broken files only ever give coded errors."""

from __future__ import annotations

import os
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, Sequence
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
)

from client.images import read_array_row, read_image, resize
from common.errors import ImageMissing, ImageUnreadable

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def dicom(pixels: NDArray[Any], photometric: str = "MONOCHROME2", **attributes: Any) -> Dataset:
    """A small CR object that holds these pixels as they are."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = ComputedRadiographyImageStorage, UID("2.25.1")
    dataset.Modality, dataset.PatientName = "CR", "SECRET^PATIENT"
    bits = 8 * pixels.dtype.itemsize
    dataset.set_pixel_data(pixels, photometric, bits, generate_instance_uid=False)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def saved(dataset: Dataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def png(image: Image.Image) -> bytes:
    stream = BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


# PNG and JPEG


def test_eight_bit_grey(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    picture = read_image(tmp_path / "a.png")
    assert picture.modality is None
    assert picture.pixels.dtype == np.float32
    np.testing.assert_allclose(picture.pixels, RAMP / 255, atol=1e-6)


def test_sixteen_bit_grey(tmp_path: Path) -> None:
    values = np.array([[0, 1, 32768, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_image(tmp_path / "a.png").pixels, values / 65535, atol=1e-6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_mode_of_a_png_shows_the_same_black_and_white(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 255], [255, 0]], dtype=np.uint8)).convert(mode)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels, [[0, 1], [1, 0]])


def test_a_transparent_pixel_counts_like_an_opaque_one(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (255, 255, 255, 0)).save(tmp_path / "a.png")
    Image.new("P", (2, 2), 0).save(tmp_path / "p.png", transparency=b"\x00\x10")
    assert read_image(tmp_path / "a.png").pixels.min() == 1
    assert read_image(tmp_path / "p.png").pixels.shape == (2, 2)


def test_colours_become_luma(tmp_path: Path) -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_image(tmp_path / "a.png").pixels, [[0.299, 0.587, 0.114]], atol=3e-3)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg(mode: str, tmp_path: Path) -> None:
    Image.new("L", (16, 8), 200).convert(mode).save(tmp_path / "a.jpg")
    pixels = read_image(tmp_path / "a.jpg").pixels
    assert pixels.shape == (8, 16)
    np.testing.assert_allclose(pixels, 200 / 255, atol=0.02)


# DICOM


def test_a_file_without_a_window_is_stretched_and_knows_its_modality(tmp_path: Path) -> None:
    picture = read_image(saved(dicom(RAMP.astype(np.uint16) * 4 + 100), tmp_path / "no-suffix"))
    assert picture.modality == "CR"
    np.testing.assert_allclose(picture.pixels, RAMP / 255, atol=1e-6)


def test_the_first_of_several_windows_counts_after_the_rescale(tmp_path: Path) -> None:
    dataset = dicom(RAMP.astype(np.int16), RescaleSlope=2, RescaleIntercept=-100)
    dataset.WindowCenter, dataset.WindowWidth = [100, 300], [101, 10]
    expected = np.clip((RAMP * 2.0 - 100 - 99.5) / 100 + 0.5, 0, 1)
    np.testing.assert_allclose(read_image(saved(dataset, tmp_path / "a.dcm")).pixels, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("LINEAR_EXACT", lambda x: np.clip((x - 128) / 64 + 0.5, 0, 1)),
        ("SIGMOID", lambda x: 1 / (1 + np.exp(-4 * (x - 128) / 64))),
    ],
)
def test_other_window_functions(function: str, expected: Any, tmp_path: Path) -> None:
    dataset = dicom(RAMP, WindowCenter=128, WindowWidth=64, VOILUTFunction=function)
    pixels = read_image(saved(dataset, tmp_path / "a.dcm")).pixels
    np.testing.assert_allclose(pixels, expected(RAMP.astype(float)), atol=1e-6)


@pytest.mark.parametrize(("centre", "width"), [(128, 0), (128, -5), (None, 10), ("", "")])
def test_a_window_that_is_none_is_passed_over(centre: Any, width: Any, tmp_path: Path) -> None:
    path = saved(dicom(RAMP, WindowCenter=centre, WindowWidth=width), tmp_path / "a.dcm")
    np.testing.assert_allclose(read_image(path).pixels, RAMP / 255, atol=1e-6)


def test_a_window_of_width_one_is_a_threshold(tmp_path: Path) -> None:
    path = saved(dicom(RAMP, WindowCenter=100, WindowWidth=1), tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_image(path).pixels, RAMP > 99)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_voi_table_goes_before_the_window(bits: int, tmp_path: Path) -> None:
    dataset = dicom(RAMP.astype(np.uint16), WindowCenter=1, WindowWidth=1)
    item = Dataset()
    item.LUTDescriptor = [200, 20, bits]
    table = np.linspace(2**bits - 1, 0, 200).astype("u1" if bits == 8 else "u2")
    item.add_new("LUTData", "OW", table.tobytes())
    dataset.VOILUTSequence = Sequence([item])
    expected = table[np.clip(RAMP.astype(int) - 20, 0, 199)] / (2**bits - 1)
    np.testing.assert_allclose(read_image(saved(dataset, tmp_path / "a.dcm")).pixels, expected, atol=1e-6)


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    path = saved(dicom(RAMP, "MONOCHROME1"), tmp_path / "a.dcm")
    np.testing.assert_allclose(read_image(path).pixels, 1 - RAMP / 255, atol=1e-6)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colour_becomes_grey(photometric: str, tmp_path: Path) -> None:
    grey = np.full((4, 4, 3), 128, dtype=np.uint8)
    path = saved(dicom(grey, photometric), tmp_path / "a.dcm")
    np.testing.assert_allclose(read_image(path).pixels, 128 / 255, atol=1e-2)


def test_palette_colour(tmp_path: Path) -> None:
    dataset = dicom(RAMP, "MONOCHROME2", PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(
            dataset, f"{colour}PaletteColorLookupTableData", (np.arange(256) * 257).astype("<u2").tobytes()
        )
    pixels = read_image(saved(dataset, tmp_path / "a.dcm")).pixels
    np.testing.assert_allclose(pixels, RAMP / 255, atol=1e-4)


def test_float_pixels_with_nan_are_black_where_nobody_knows(tmp_path: Path) -> None:
    values = np.array([[np.nan, 0.0], [1.0, 2.0]], dtype=np.float32)
    dataset = dicom(np.zeros((2, 2), dtype=np.uint16), BitsAllocated=32)
    for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(dataset, keyword)
    dataset.FloatPixelData = values.tobytes()
    pixels = read_image(saved(dataset, tmp_path / "a.dcm")).pixels
    np.testing.assert_array_equal(pixels, np.array([[0, 0], [0.5, 1]], dtype=np.float32))


def test_a_constant_picture_is_black(tmp_path: Path) -> None:
    path = saved(dicom(np.full((4, 4), 77, dtype=np.uint8)), tmp_path / "a.dcm")
    assert read_image(path).pixels.max() == 0


def test_a_deflated_file_is_read_and_a_deflated_bomb_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = dicom(RAMP)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = saved(dataset, tmp_path / "a.dcm")
    np.testing.assert_allclose(read_image(path).pixels, RAMP / 255, atol=1e-6)
    monkeypatch.setattr("client.dicom.dataset.reading.MAX_INFLATED_BYTES", 100)
    with pytest.raises(ImageUnreadable, match="too-large"):
        read_image(path)


# Arrays


def test_rows_of_an_npz_are_found_by_name_and_number(tmp_path: Path) -> None:
    images = np.stack([RAMP, RAMP[::-1]])
    np.savez(tmp_path / "a.npz", train_images=images, test_images=images.astype(np.uint16) * 257)
    np.testing.assert_allclose(
        read_array_row(tmp_path / "a.npz", "train_images", 1).pixels, RAMP[::-1] / 255, atol=1e-6
    )
    np.testing.assert_allclose(
        read_array_row(tmp_path / "a.npz", "test_images", 0).pixels, RAMP / 255, atol=1e-6
    )
    with pytest.raises(ImageUnreadable, match="train_images, test_images"):
        read_image(tmp_path / "a.npz", 0)


def test_an_array_on_its_own_and_float_values_beyond_the_range(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[-1.0, 0.25], [np.nan, 7.0]]))
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy").pixels, [[0, 0.25], [0, 1]])
    np.savez(tmp_path / "b.npz", only=np.ones((3, 2, 2, 3), dtype=np.uint8) * 255)
    np.testing.assert_array_equal(read_image(tmp_path / "b.npz", 2).pixels, [[1, 1], [1, 1]])


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((1, 2, 2)))
    assert read_image(path, 0).pixels.max() == 0
    np.save(path, np.ones((1, 2, 2)))
    os.utime(path, ns=(1, 1))
    assert read_image(path, 0).pixels.max() == 1


@pytest.mark.parametrize(
    ("array", "row"),
    [
        (np.zeros((2, 4, 4), dtype=np.uint8), 2),
        (np.zeros((2, 4, 4), dtype=np.uint8), -1),
        (np.zeros((2, 4, 4), dtype=np.uint8), None),
        (np.zeros((2, 4, 4), dtype=np.int64), 0),
        (np.zeros((2, 0, 4), dtype=np.uint8), 0),
        (np.array(5, dtype=np.uint8), 0),
        (np.array([{"a": 1}], dtype=object), 0),
    ],
    ids=["past", "negative", "which", "int64", "empty", "scalar", "pickle"],
)
def test_rows_that_are_no_picture(array: NDArray[Any], row: int | None, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ImageUnreadable):
        read_image(tmp_path / "a.npy", row)


# What cannot be read


def deflated_png(width: int, height: int) -> bytes:
    """A PNG that claims this size and holds a few bytes."""
    content = bytearray(png(Image.new("L", (1, 1))))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


def npy_header(shape: tuple[int, ...]) -> bytes:
    """The start of a file that claims an array of this shape."""
    stream = BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue()


BROKEN = {
    "empty.png": b"",
    "empty.dcm": b"",
    "empty.npy": b"",
    "empty.npz": b"",
    "text.png": b"this is not a picture",
    "text.dcm": b"this is not a picture" * 20,
    "preamble-only": bytes(128) + b"DICM",
    "lying.dcm": bytes(128) + b"DICM" + b"\x08\x00\x05\x00CS\xff\xff" + b"short",
    "cut.png": png(Image.effect_noise((64, 64), 50))[:400],
    "gif.gif": b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\x01\x00\x01\x00",
    "bomb.png": deflated_png(60_000, 60_000),
    "large.npy": npy_header((2**20, 2**20)),
    "cut.npy": npy_header((8, 8)),
    "zip.npz": b"PK\x03\x04 not really",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_unreadable_and_costs_no_memory(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(BROKEN[name])
    tracemalloc.start()
    try:
        with pytest.raises(ImageUnreadable, match=name):
            read_image(path)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "change",
    [
        {"NumberOfFrames": 2},
        {"Rows": 60_000, "Columns": 60_000},
        {"Rows": 17},
        {"Rows": None},
        {"PixelData": b""},
        {"PhotometricInterpretation": None},
        {"BitsAllocated": 13},
    ],
    ids=str,
)
def test_a_dicom_file_that_contradicts_itself(change: dict[str, Any], tmp_path: Path) -> None:
    path = saved(dicom(RAMP, **change), tmp_path / "a.dcm")
    with pytest.raises(ImageUnreadable) as caught:
        read_image(path)
    assert "SECRET" not in caught.value.private
    assert "a.dcm" in caught.value.private
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_header_without_its_picture(tmp_path: Path) -> None:
    dataset = dicom(RAMP)
    del dataset.PixelData
    with pytest.raises(ImageUnreadable, match="does not hold it"):
        read_image(saved(dataset, tmp_path / "a.dcm"))


def test_a_value_that_cannot_be_parsed_is_not_quoted(tmp_path: Path) -> None:
    path = saved(dicom(RAMP, NumberOfFrames=1), tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes().replace(b"IS\x02\x001 ", b"IS\x02\x00QX"))
    with pytest.raises(ImageUnreadable, match="no number") as caught:
        read_image(path)
    assert "QX" not in caught.value.private


def test_a_compression_without_decoder_is_named(tmp_path: Path) -> None:
    from pydicom.encaps import encapsulate

    dataset = dicom(RAMP)
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    dataset["PixelData"].is_undefined_length = True
    with pytest.raises(ImageUnreadable, match=r"JPEG-LS|decoder"):
        read_image(saved(dataset, tmp_path / "a.dcm"))


def test_what_is_not_a_file(tmp_path: Path) -> None:
    for missing in (tmp_path / "none.png", tmp_path / "none.npz", Path("a\0b")):
        with pytest.raises(ImageMissing):
            read_image(missing)
    os.mkfifo(tmp_path / "pipe.dcm")
    for odd in (tmp_path, tmp_path / "pipe.dcm"):
        with pytest.raises(ImageUnreadable, match="not a regular file"):
            read_image(odd)


def test_a_row_is_asked_of_arrays_only(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    with pytest.raises(ImageUnreadable, match="not an array"):
        read_image(tmp_path / "a.png", 0)


# Resizing


def test_reducing_averages_and_keeps_the_mean() -> None:
    noise = np.random.default_rng(0).random((128, 96), dtype=np.float32)
    small = resize(noise, (32, 24))
    assert small.shape == (32, 24)
    assert small.dtype == np.float32
    assert small.std() < 0.4 * noise.std()
    assert abs(small.mean() - noise.mean()) < 0.01
    np.testing.assert_array_equal(small, resize(noise, (32, 24)))


def test_enlarging_keeps_a_constant_and_height_before_width() -> None:
    np.testing.assert_allclose(resize(np.full((4, 4), 0.3, dtype=np.float32), (8, 16)), 0.3, atol=1e-6)
    assert resize(np.zeros((4, 4), dtype=np.float32), (8, 16)).shape == (8, 16)


# Real files


def test_a_bag_of_real_and_broken_dicom_files_gives_pictures_or_coded_errors(data_folder: Path) -> None:
    read = 0
    for path in sorted((data_folder / "dicom" / "bag").iterdir()):
        try:
            picture = read_image(path)
        except ImageUnreadable as error:
            assert path.name in error.private
            continue
        assert (picture.pixels.ndim, picture.pixels.dtype) == (2, np.float32)
        assert 0 <= picture.pixels.min() <= picture.pixels.max() <= 1
        read += 1
    assert read >= 80

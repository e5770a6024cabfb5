"""Stored pixels are those that OFFIS DCMTK decodes, over every file of the bag that DCMTK can decode.

DCMTK is an implementation of its own, with decoders of its own for JPEG and RLE; it turns a file into one
that is not compressed, whose bytes are then taken as they are. It reads no JPEG 2000 and no deflated frames.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import (
    ExplicitVRBigEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    RLELossless,
)

from client.dicom.dataset.reading import read
from client.dicom.decoding import decode
from client.dicom.decoding.display import brightness
from client.dicom.decoding.stored import Stored, significant, stored_values
from client.dicom.outcomes import Quarantined

TOOLS = ("dcmconv", "dcmdjpeg", "dcmdjpls", "dcmdrle", "dcm2pnm")
LOSSY = {JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless}
LOSSY_TOLERANCE = 0.01
"""Of the range: two decoders of a lossy codestream may round differently."""

MINIMUM_COMPARED = 94


@pytest.fixture(scope="module")
def dcmtk() -> None:
    """Skips where DCMTK is not installed."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing and os.environ.get("CONSILIUM_REQUIRE_PARTS") == "1":
        pytest.fail(f"DCMTK is asked for and not there: {', '.join(missing)}")
    if missing:
        pytest.skip(f"needs DCMTK (Debian: dcmtk): {', '.join(missing)} not found")


def tool_for(syntax: str) -> list[str]:
    """The program that decodes a transfer syntax, colours left as they are; [] where there is none."""
    number = syntax.removeprefix("1.2.840.10008.1.2")
    if number.startswith((".4.5", ".4.70")):
        return ["dcmdjpeg", "+cn"]
    if number.startswith(".4.8"):
        return ["dcmdjpls"]
    if syntax == RLELossless:
        return ["dcmdrle"]
    return [] if number.startswith((".4", ".8")) else ["dcmconv"]


def decoded_by_dcmtk(path: Path, syntax: str, target: Path) -> Dataset | None:
    """The object as DCMTK decodes it, little endian; None where it does not."""
    tool = tool_for(syntax)
    for bare in ([], ["-f"]):  # the second reads what has no file meta information
        if tool and subprocess.run([*tool, *bare, "+te", path, target], capture_output=True).returncode == 0:
            return dcmread(target)
    return None


def bytes_as_values(decoded: Dataset, stored: Stored) -> NDArray[Any]:
    """The bytes of an object that is not compressed, as an array of the same shape."""
    shape, layout = stored.values.shape, stored.layout
    raw = decoded[layout.keyword].value
    if layout.allocated == 1:
        bits = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")
        return bits[: stored.values.size].reshape(shape)
    kind = "f" if layout.keyword != "PixelData" else "u"
    words = np.frombuffer(raw, f"<{kind}{layout.dtype.itemsize}", stored.values.size)
    if kind == "u":  # DCMTK leaves the unused bits of a word as it finds them
        words = significant(words, layout.bits, layout.high_bit, layout.signed)
    if layout.samples == 3 and decoded.PlanarConfiguration == 1:
        return np.moveaxis(words.reshape(shape[0], 3, *shape[1:3]), 1, -1)
    return words.reshape(shape)


def compared(folder: Path, target: Path) -> Iterator[tuple[str, str, Stored, NDArray[Any]]]:
    """Name, transfer syntax, our values and DCMTK's, for each file that both decode."""
    for path in sorted(folder.iterdir()):
        try:
            dataset = read(path.read_bytes())
            stored = stored_values(dataset)
        except Quarantined:
            continue
        syntax = str(dataset.file_meta.TransferSyntaxUID)
        if syntax == ExplicitVRBigEndian and stored.layout.allocated > 16:
            continue  # DCMTK swaps the bytes of such words two by two; their twins are compared elsewhere
        other = decoded_by_dcmtk(path, syntax, target)
        if other is None or other.PhotometricInterpretation == "YBR_FULL_422":
            continue  # not compressed, but with halved colours: DCMTK leaves it so
        yield path.name, syntax, stored, bytes_as_values(other, stored)


@pytest.mark.usefixtures("dcmtk")
def test_stored_values_are_those_of_dcmtk(data_folder: Path, tmp_path: Path) -> None:
    names = []
    for name, syntax, stored, theirs in compared(data_folder / "dicom" / "bag", tmp_path / "out.dcm"):
        ours = stored.values.astype(np.float64)
        allowed = LOSSY_TOLERANCE * np.ptp(theirs.astype(np.float64)) if syntax in LOSSY else 0.0
        assert np.nanmax(np.abs(ours - theirs)) <= allowed, name
        names.append(name)
    print(f"compared {len(names)} files: {' '.join(names)}")  # noqa: T201  shown with pytest -s, and on failure
    assert len(names) >= MINIMUM_COMPARED


SHOWN = [
    ("019.dcm", ["+Ww", "40", "400"]),  # CT, the default window
    ("029.dcm", ["+Ww", "40", "400"]),  # CT, signed
    ("001.dcm", ["+Wm"]),  # MR, from the least to the greatest value
    ("116.dcm", ["+Wm"]),  # MR, big endian
    ("088.dcm", ["+Wm"]),  # PET, rescaled
    ("128.dcm", ["+Wi", "1"]),  # DX, MONOCHROME1, its own window
    ("090.dcm", ["+Wi", "1"]),  # US, lossless JPEG, its own window
    ("143.dcm", ["+Wl", "1"]),  # its own VOI LUT
    ("033.dcm", []),  # US, colours by plane
    ("044.dcm", []),  # US, palette
    ("118.dcm", []),  # US, palette of 16 bits
    ("056", []),  # colours in RLE
    ("005.dcm", []),  # YBR_FULL
    ("091", []),  # YBR_FULL_422
    ("051.dcm", []),  # lossy colours, halved
]


@pytest.mark.usefixtures("dcmtk")
@pytest.mark.parametrize(("name", "window"), SHOWN, ids=[name for name, _ in SHOWN])
def test_pictures_are_shown_as_dcmtk_shows_them(
    name: str, window: list[str], data_folder: Path, tmp_path: Path
) -> None:
    """Within 1.5 of 255 greys, or one in a hundred where DCMTK has converted colours and cut them off."""
    path, source, target = data_folder / "dicom" / "bag" / name, tmp_path / "in.dcm", tmp_path / "out.pnm"
    dataset = read(path.read_bytes())
    if decoded_by_dcmtk(path, str(dataset.file_meta.TransferSyntaxUID), source) is None:
        pytest.fail(f"DCMTK no longer decodes {name}")
    subprocess.run(["dcm2pnm", *window, "+F", "1", source, target], check=True, capture_output=True)
    with Image.open(target) as image:
        theirs = np.asarray(image, dtype=np.float64)
    allowed = 1.5
    if theirs.ndim == 3:
        theirs, allowed = theirs @ np.array([0.299, 0.587, 0.114]), LOSSY_TOLERANCE * 255
    pixels = decode(dataset)
    ours = brightness(pixels.frames, pixels.display)[0] * 255
    assert np.abs(ours - theirs).max() <= allowed

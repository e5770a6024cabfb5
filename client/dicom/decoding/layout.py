"""How an object's pixels are laid out, as its header says, checked before anything is decoded.

Rows, columns, frames and bits of a broken or hostile header may ask for any amount of memory; here they end
as a coded refusal that costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom import Dataset

from client.dicom.dataset.header import holds, text, whole
from client.dicom.outcomes import Quarantined, Reason

MAX_DECODED_BYTES = 2**29
"""Largest pixels of one object as stored, in bytes: 1,000 slices of 512 x 512 at 16 bits are 500 MiB."""

PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")

SAMPLES = {
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "YBR_FULL": 3,
    "YBR_FULL_422": 3,
    "YBR_RCT": 3,
    "YBR_ICT": 3,
}
"""Photometric interpretations (0028,0004) that can be shown, and the samples of a pixel in each."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How pixels are stored.

    Attributes:
        keyword: Which of ``PIXEL_KEYWORDS`` holds them.
        frames: Number of Frames (0028,0008).
        rows: (0028,0010).
        columns: (0028,0011).
        samples: Samples per Pixel (0028,0002): 1 or 3.
        allocated: Bits Allocated (0028,0100): 1, 8, 16, 32 or 64.
        bits: Bits Stored (0028,0101).
        high_bit: (0028,0102); ``bits - 1`` where the header makes no sense.
        signed: Pixel Representation (0028,0103).
        by_plane: Planar Configuration (0028,0006): one colour after the other.
        photometric: One of ``SAMPLES``.
    """

    keyword: str
    frames: int
    rows: int
    columns: int
    samples: int
    allocated: int
    bits: int
    high_bit: int
    signed: bool
    by_plane: bool
    photometric: str

    @property
    def frame_pixels(self) -> int:
        """Pixels of a frame."""
        return self.rows * self.columns

    @property
    def size(self) -> int:
        """Values of all frames."""
        return self.frames * self.frame_pixels * self.samples

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """What holds one value; single bits take a byte."""
        if self.keyword != "PixelData":
            return np.dtype(np.float32 if self.keyword == "FloatPixelData" else np.float64)
        kind = "i" if self.signed else "u"
        return np.dtype(f"{kind}{max(1, self.allocated // 8)}")


def layout_of(dataset: Dataset) -> Layout:
    """How the object says that its pixels are stored.

    Raises:
        Quarantined: no_pixels, inconsistent, values or too_large.
    """
    keyword = next((one for one in PIXEL_KEYWORDS if holds(dataset, one)), "")
    if not keyword:
        raise Quarantined(Reason.no_pixels)
    rows, columns = _side(dataset, "Rows"), _side(dataset, "Columns")
    photometric, samples = _photometric(dataset)
    allocated, bits, high_bit = _bits(dataset, keyword)
    layout = Layout(
        keyword=keyword,
        frames=_frames(dataset),
        rows=rows,
        columns=columns,
        samples=samples,
        allocated=allocated,
        bits=bits,
        high_bit=high_bit,
        signed=_signed(dataset, allocated, samples),
        by_plane=samples > 1 and whole(dataset, "PlanarConfiguration") == 1,
        photometric=photometric,
    )
    if layout.size * layout.dtype.itemsize > MAX_DECODED_BYTES:
        raise Quarantined(Reason.too_large, f"the pixels take more than {MAX_DECODED_BYTES} bytes")
    return layout


def _photometric(dataset: Dataset) -> tuple[str, int]:
    """Photometric interpretation and samples of a pixel, which must agree."""
    photometric = (text(dataset, "PhotometricInterpretation") or "").upper()
    if photometric not in SAMPLES:
        raise Quarantined(Reason.values, "a photometric interpretation that cannot be shown")
    samples = whole(dataset, "SamplesPerPixel") or SAMPLES[photometric]
    if samples != SAMPLES[photometric]:
        raise Quarantined(Reason.inconsistent, "photometric interpretation and samples do not agree")
    return photometric, samples


def _frames(dataset: Dataset) -> int:
    """Number of Frames; 1 where it is missing, empty or 0."""
    if not holds(dataset, "NumberOfFrames") or not dataset.get_item("NumberOfFrames").value:
        return 1
    frames = whole(dataset, "NumberOfFrames")
    if frames is None or frames < 0:
        raise Quarantined(Reason.inconsistent, "the number of frames is no number")
    return frames or 1


def _side(dataset: Dataset, keyword: str) -> int:
    value = whole(dataset, keyword)
    if value is None or not 0 < value < 2**16:
        raise Quarantined(Reason.inconsistent, f"{keyword} is no size of a picture")
    return value


def _bits(dataset: Dataset, keyword: str) -> tuple[int, int, int]:
    """Bits allocated, bits stored and the highest of them; floating point stands for itself."""
    if keyword != "PixelData":
        bits = 32 if keyword == "FloatPixelData" else 64
        return bits, bits, bits - 1
    allocated = whole(dataset, "BitsAllocated")
    if allocated not in {1, 8, 16, 32, 64}:
        raise Quarantined(Reason.values, "a number of bits that is not read")
    bits = whole(dataset, "BitsStored") or allocated
    if not 1 <= bits <= allocated:
        raise Quarantined(Reason.inconsistent, "more bits are stored than allocated")
    high_bit = whole(dataset, "HighBit")
    if high_bit is None or not bits - 1 <= high_bit < allocated:
        high_bit = bits - 1
    return allocated, bits, high_bit


def _signed(dataset: Dataset, allocated: int, samples: int) -> bool:
    """Pixel Representation; where it is missing, only bytes and colours can be taken to be unsigned."""
    if samples > 1 or allocated == 1:
        return False
    stated = whole(dataset, "PixelRepresentation")
    if stated is None and allocated > 8 and holds(dataset, "PixelData"):
        raise Quarantined(Reason.inconsistent, "nothing says whether values have a sign")
    if stated not in {None, 0, 1}:
        raise Quarantined(Reason.inconsistent, "the pixel representation is neither 0 nor 1")
    return stated == 1

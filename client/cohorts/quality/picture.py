"""What the report keeps of a case's pictures: a few kilobytes, computed once when the case is made.

The fingerprint is a difference hash (dHash, after N. Krawetz 2013) of the middle frame: reduced to 12 rows of
13 means, bit (r, c) says that mean (r, c + 1) is brighter than mean (r, c) by more than ``STEP``. Copies that
were resized, compressed, brightened or made noisy differ in few of the 144 bits. With the 64 bits that dHash
usually has, chest X-rays of different patients cannot be told apart: all are laid out alike. The least step
keeps noise in black background from setting bits.
"""

from __future__ import annotations

import struct
import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 64
GRID = 12
HASH_BYTES = GRID * GRID // 8
STEP = 0.01
THUMBNAIL_EDGE = 96

_HEADER = struct.Struct("<4sffHH")
_MAGIC = b"CCP1"


@dataclass(frozen=True, slots=True, eq=False)
class CasePicture:
    """A case's pictures in small.

    Attributes:
        histogram: (64,) float32, share of the pixels of all frames in each of 64 equal steps from 0 to 1.
        mean: Of the pixels of all frames, 0 = black, 1 = white.
        sd: Their standard deviation.
        fingerprint: (18,) uint8, the 144 bits of the middle frame's difference hash.
        thumbnail: (h, w) uint8, the middle frame, at most 96 pixels wide and high, its proportions kept.
    """

    histogram: NDArray[np.float32]
    mean: float
    sd: float
    fingerprint: NDArray[np.uint8]
    thumbnail: NDArray[np.uint8]

    def to_json(self) -> str:
        """The picture in small as one JSON string (base64, about 7 kB)."""
        header = _HEADER.pack(_MAGIC, self.mean, self.sd, *self.thumbnail.shape)
        numbers = self.histogram.astype("<f4").tobytes() + self.fingerprint.tobytes()
        return b64encode(header + numbers + zlib.compress(self.thumbnail.tobytes())).decode("ascii")

    @staticmethod
    def of_json(document: object) -> CasePicture:
        """What :meth:`to_json` gave.

        Raises:
            ValueError: It is something else, or damaged.
        """
        try:
            content = b64decode(str(document), validate=True)
            magic, mean, sd, height, width = _HEADER.unpack_from(content)
            histogram = np.frombuffer(content, "<f4", BINS, _HEADER.size)
            start = _HEADER.size + histogram.nbytes
            fingerprint = np.frombuffer(content, np.uint8, HASH_BYTES, start)
            unpacker = zlib.decompressobj()  # with a limit, so that damage cannot ask for all memory
            pixels = unpacker.decompress(content[start + HASH_BYTES :], THUMBNAIL_EDGE**2 + 1)
            thumbnail = np.frombuffer(pixels, np.uint8).reshape(height, width)
        except (struct.error, zlib.error) as error:
            raise ValueError("not a picture in small") from error
        if magic != _MAGIC:
            raise ValueError("not a picture in small")
        return CasePicture(histogram.astype(np.float32), mean, sd, fingerprint, thumbnail)


def picture_of(frames: NDArray[np.float32]) -> CasePicture:
    """A case's pictures in small.

    Args:
        frames: (T, H, W) float32 in [0, 1], 0 = black. Anything outside is cut off; what is not a number
            counts as black.

    Raises:
        ValueError: There is no pixel, or the array has other than three axes.
    """
    if frames.ndim != 3 or not frames.size:
        raise ValueError(f"frames of shape (T, H, W) with at least one pixel are needed, not {frames.shape}")
    counts, total, squares = np.zeros(BINS, dtype=np.int64), 0.0, 0.0
    for frame in frames:  # one after another: a long sequence must not be copied as a whole
        pixels = _cleaned(frame)
        counts += np.bincount(np.minimum(pixels * BINS, BINS - 1).astype(np.uint8).ravel(), minlength=BINS)
        total += float(pixels.sum(dtype=np.float64))
        squares += float(np.square(pixels, dtype=np.float64).sum())
    mean = total / frames.size
    sd = max(squares / frames.size - mean * mean, 0.0) ** 0.5
    middle = _cleaned(frames[len(frames) // 2])
    histogram = (counts / frames.size).astype(np.float32)
    return CasePicture(histogram, mean, sd, _fingerprint(middle), _thumbnail(middle))


def reduced(pixels: NDArray[Any], height: int, width: int) -> NDArray[np.float32]:
    """A picture at a smaller size, each new pixel the mean of the area it covers.

    Args:
        pixels: (H, W), any real numbers.
        height: Rows of the result.
        width: Columns of the result.

    Returns:
        (height, width) float32.
    """
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels, dtype=np.float32))
    return np.array(image.resize((width, height), Image.Resampling.BOX), dtype=np.float32)


def _cleaned(frame: NDArray[np.float32]) -> NDArray[np.float32]:
    cleaned: NDArray[np.float32] = np.clip(np.nan_to_num(frame, nan=0.0), 0.0, 1.0).astype(np.float32)
    return cleaned


def _fingerprint(frame: NDArray[np.float32]) -> NDArray[np.uint8]:
    means = reduced(frame, GRID, GRID + 1)
    return np.packbits(means[:, 1:] > means[:, :-1] + STEP)


def _thumbnail(frame: NDArray[np.float32]) -> NDArray[np.uint8]:
    height, width = frame.shape
    scale = min(1.0, THUMBNAIL_EDGE / max(height, width))
    small = reduced(frame, max(1, round(height * scale)), max(1, round(width * scale)))
    return np.round(small * 255).astype(np.uint8)

"""PNG and JPEG files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from client.images.picture import check_size, clip
from common.errors import ImageUnreadable

if TYPE_CHECKING:
    from PIL.Image import Image


def read_raster(path: Path) -> NDArray[np.float32]:
    """(H, W) float32 in [0, 1] of a PNG or JPEG file.

    Raises:
        ImageUnreadable: Neither of the two, or too large. Other failures are Pillow's own exceptions.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        # Naming the formats keeps Pillow's forty other decoders out of reach of a hostile file.
        with Image.open(path, formats=["PNG", "JPEG"]) as image:
            check_size(path, image.width * image.height, getattr(image, "n_frames", 1))
            return _brightness(image)
    except UnidentifiedImageError:
        raise ImageUnreadable(f"{path} is neither PNG, JPEG nor DICOM") from None


def _brightness(image: Image) -> NDArray[np.float32]:
    """Brightness of a Pillow image; alpha is ignored."""
    if image.mode.startswith("I"):  # 16-bit grey: "I;16", or "I" in older releases of Pillow
        return clip(np.asarray(image, dtype=np.float64) / 65535)
    opaque = image.convert("RGB") if image.mode in {"P", "PA", "CMYK"} else image
    return clip(np.asarray(opaque.convert("L"), dtype=np.float64) / 255)

"""PNG and JPEG files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def read_class_values(path: Path) -> NDArray[np.integer[Any]]:
    """(H, W) of a mask in a PNG file: grey values, or places in its palette.

    Raises:
        ImageUnreadable: It is in colour, or no PNG; JPEG would have changed values at every edge.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=["PNG"]) as image:
            check_size(path, image.width * image.height, getattr(image, "n_frames", 1))
            if image.mode not in {"1", "L", "P"} and not image.mode.startswith("I"):
                raise ImageUnreadable(
                    f"{path}: a mask is grey or has a palette, and this one is {image.mode}"
                )
            values = np.asarray(image)
            return values.astype(np.uint8) if values.dtype == np.bool_ else values
    except UnidentifiedImageError:
        raise ImageUnreadable(f"{path} is no PNG; a mask is PNG or a numpy array") from None


def _brightness(image: Image) -> NDArray[np.float32]:
    """Brightness of a Pillow image; alpha is ignored."""
    if image.mode.startswith("I"):  # 16-bit grey: "I;16", or "I" in older releases of Pillow
        return clip(np.asarray(image, dtype=np.float64) / 65535)
    opaque = image.convert("RGB") if image.mode in {"P", "PA", "CMYK"} else image
    return clip(np.asarray(opaque.convert("L"), dtype=np.float64) / 255)

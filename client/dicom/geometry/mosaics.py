"""Volumes that MR scanners store as one picture, their slices laid out side by side.

Siemens writes them with MOSAIC in Image Type, United Imaging with VFRAME. Neither is in the standard:
number of slices and their places stand in the makers' own elements. The slices fill the picture row by row
from the top left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from client.dicom.dataset.elements import as_items, as_numbers, number, numbers, private, texts
from client.dicom.dataset.header import quiet
from client.dicom.geometry.planes import dot, moved, normal_of, plane_of
from client.dicom.place import Plane

MAX_SLICES = 1024
"""No scanner puts more slices into one picture; a broken number would make as many empty planes."""


@dataclass(frozen=True, slots=True)
class Mosaic:
    """How slices lie in one picture.

    Attributes:
        rows: How many slices stand above each other.
        columns: How many stand side by side.
        planes: One for each slice, in the order in which they are stored; None where it is not known.
    """

    rows: int
    columns: int
    planes: tuple[Plane | None, ...]

    def cut(self, picture: NDArray[Any]) -> NDArray[Any]:
        """The slices of a picture.

        Args:
            picture: (1, H, W) or (H, W), as stored.

        Returns:
            (slices, H / rows, W / columns), C-contiguous, of the same type.

        Raises:
            ValueError: The picture cannot be divided so.
        """
        height, width = picture.shape[-2:]
        if picture.size != height * width or height % self.rows or width % self.columns:
            raise ValueError(f"a picture of {picture.shape} is no mosaic of {self.rows} x {self.columns}")
        tiles = picture.reshape(self.rows, height // self.rows, self.columns, width // self.columns)
        in_order = tiles.transpose(0, 2, 1, 3).reshape(-1, height // self.rows, width // self.columns)
        return np.ascontiguousarray(in_order[: len(self.planes)])


def is_mosaic(dataset: Dataset) -> bool:
    """Whether the picture is several slices side by side, so that one plane does not hold for it."""
    return not {"MOSAIC", "VFRAME"}.isdisjoint(texts(dataset, "ImageType"))


def mosaic_of(dataset: Dataset) -> Mosaic | None:
    """How the object's picture is to be cut, or None if it is no mosaic or does not say."""
    if not is_mosaic(dataset) or (number(dataset, "NumberOfFrames") or 1) > 1:
        return None
    return _united(dataset) or _siemens(dataset)


def _united(dataset: Dataset) -> Mosaic | None:
    """United Imaging: MR VFrame Sequence (0065,xx51) has a position for each slice."""
    slices = as_items(private(dataset, 0x0065, "Image Private Header", 0x51))
    layout = _layout(dataset, len(slices), square=False)
    if layout is None:
        return None
    axes, spacing = numbers(dataset, "ImageOrientationPatient", 6), numbers(dataset, "PixelSpacing", 2)
    planes = [plane_of(numbers(one, "ImagePositionPatient", 3), axes, spacing) for one in slices]
    return Mosaic(*layout, tuple(planes))


def _siemens(dataset: Dataset) -> Mosaic | None:
    """Siemens: Number of Images in Mosaic (0019,xx0A), in a square of tiles.

    The stated position is that of a picture as large as the mosaic around the first slice's middle, and the
    slices go along Slice Normal Vector of the CSA header, whichever side that is (as nibabel reads it,
    ``nibabel.nicom.dicomwrappers.MosaicWrapper``).
    """
    values = as_numbers(private(dataset, 0x0019, "SIEMENS MR HEADER", 0x0A))
    count = int(values[0]) if values else 0
    layout = _layout(dataset, count, square=True)
    if layout is None:
        return None
    first, along = _siemens_first(dataset, *layout), _siemens_normal(dataset)
    between = number(dataset, "SpacingBetweenSlices")
    if first is None or len(along) != 3 or not between:
        return Mosaic(*layout, (None,) * count)
    step = math.copysign(between, dot(normal_of(first), along))
    return Mosaic(*layout, tuple(moved(first, step * place) for place in range(count)))


def _siemens_first(dataset: Dataset, tiles_down: int, tiles_across: int) -> Plane | None:
    """The plane of the first slice: half the mosaic's size in, half a slice's size back."""
    axes, spacing = numbers(dataset, "ImageOrientationPatient", 6), numbers(dataset, "PixelSpacing", 2)
    whole = plane_of(numbers(dataset, "ImagePositionPatient", 3), axes, spacing)
    height, width = number(dataset, "Rows"), number(dataset, "Columns")
    if whole is None or height is None or width is None:
        return None
    down = (height - height / tiles_down) / 2 * whole.spacing_mm[0]
    right = (width - width / tiles_across) / 2 * whole.spacing_mm[1]
    x, y, z = (
        at + right * row + down * column
        for at, row, column in zip(whole.position_mm, whole.row, whole.column, strict=True)
    )
    return Plane((x, y, z), whole.row, whole.column, whole.spacing_mm)


def _siemens_normal(dataset: Dataset) -> tuple[float, ...]:
    """Slice Normal Vector of the CSA image header (0029,xx10), or nothing."""
    header = private(dataset, 0x0029, "SIEMENS CSA HEADER", 0x10)
    if not isinstance(header, bytes):
        return ()
    try:
        with quiet():  # nibabel warns that its readers of DICOM are experimental; a test holds this one to it
            from nibabel.nicom import csareader

            content = csareader.read(header)  # type: ignore[no-untyped-call]
            return as_numbers(csareader.get_slice_normal(content).tolist())  # type: ignore[no-untyped-call]
    except Exception:  # noqa: BLE001  an undocumented format read by somebody else's parser
        return ()


def _layout(dataset: Dataset, count: int, square: bool) -> tuple[int, int] | None:
    """Tiles down and across for ``count`` slices, or None if the picture cannot be divided so.

    Args:
        dataset: The object.
        count: How many slices there are.
        square: Whether there are as many tiles down as across, even if the last rows stay empty.
    """
    height, width = int(number(dataset, "Rows") or 0), int(number(dataset, "Columns") or 0)
    if not 1 < count <= MAX_SLICES or not height or not width:
        return None
    columns = math.isqrt(count - 1) + 1
    rows = columns if square else math.ceil(count / columns)
    return (rows, columns) if not height % rows and not width % columns else None

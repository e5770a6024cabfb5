"""Whether somebody's name may be written into a picture: what the header says, then what the pixels show.

The check of the pixels looks for lines of writing, not for names: strokes of nearly the brightest or darkest
value, short across and many beside each other, in a band with nothing of that value right above and below.
It is a sieve for people to look behind, not a proof: docs/dicom.md states what it was measured to find.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

Suspicion = Literal["declared", "modality", "text-found"]

WRITTEN_ON = frozenset({"US", "IVUS", "ES", "XC", "OT", "SC", "GM", "DOC"})
"""Modalities (0008,0060) whose machines write names into pictures, unless Burned In Annotation says NO."""

SCREEN_WORDS = frozenset({"SCREEN", "SCREENSHOT", "SCREENSAVE", "SCREEN SAVE", "SCREEN SHOT", "CAPTURE"})
"""Values of Image Type (0008,0008) of pictures taken from a screen."""

CAPTURES = "1.2.840.10008.5.1.4.1.1.7"
"""Secondary Capture Image Storage; the multi-frame ones have a number more."""

SAMPLED = frozenset({"CT", "MR", "PT", "NM"})
"""Modalities whose own pictures are computed, not drawn: looked at only if secondary or of 8 bits."""

UNLOOKED = frozenset({"SEG", "RTDOSE"})
"""Modalities whose frames are no pictures."""

FRAMES_LOOKED_AT = 3
"""First, middle and last of many: writing stays from frame to frame."""


def suspicion(dataset: Dataset, frames: NDArray[Any]) -> Suspicion | None:
    """Why writing may be burned into the picture, or None.

    Args:
        dataset: The header, as read or de-identified.
        frames: (N, H, W) stored values of any integer or float type, grey.

    Returns:
        ``declared``: Burned In Annotation (0028,0301) is YES. ``modality``: pictures of this kind often carry
        names, and the header does not deny it. ``text-found``: lines of writing were found, whatever the
        header says.
    """
    declared, modality = str(dataset.get("BurnedInAnnotation") or ""), str(dataset.get("Modality") or "")
    if declared == "YES":
        return "declared"
    if declared != "NO" and (modality in WRITTEN_ON or _is_capture(dataset)):
        return "modality"
    if _is_looked_at(dataset, modality, frames) and any(has_writing(frame) for frame in _chosen(frames)):
        return "text-found"
    return None


def _is_capture(dataset: Dataset) -> bool:
    """Whether the picture was taken from a screen, a film or paper."""
    image_type = {value.upper() for value in _image_type(dataset)}
    sop_class = str(dataset.get("SOPClassUID") or "")
    return (
        bool(dataset.get("ConversionType"))
        or sop_class == CAPTURES
        or sop_class.startswith(f"{CAPTURES}.")
        or bool(image_type & SCREEN_WORDS)
    )


def _image_type(dataset: Dataset) -> list[str]:
    given = dataset.get("ImageType") or []
    return [given] if isinstance(given, str) else [str(value) for value in given]


def _is_looked_at(dataset: Dataset, modality: str, frames: NDArray[Any]) -> bool:
    if modality in UNLOOKED or frames.size == 0:
        return False
    secondary = "SECONDARY" in _image_type(dataset)
    return modality not in SAMPLED or secondary or _is_capture(dataset) or frames.dtype.itemsize == 1


def _chosen(frames: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for place in sorted({0, len(frames) // 2, len(frames) - 1})[:FRAMES_LOOKED_AT]:
        yield frames[place]


# Lines of writing

LARGEST_SIDE = 2048
"""Larger pictures are looked at every second, third, ... pixel."""

SCALES = (1, 2, 4)
"""Every pixel, for small writing, every second and every fourth, for large."""

INK = 0.2
"""Part of the range of values, next to its greatest and next to its least, that counts as ink."""

FADE = 1.5
"""How much further than ink its blurred edge reaches; ground lies beyond."""

LONGEST_STROKE = 14
"""Pixels across a stroke, or along the bar of a T."""

CELL = 16
"""Pixels across one cell of the grid in which ink is counted."""

WINDOW = 6
"""Cells across the part of a line that is judged."""

MOST_INK = 0.6
"""Part of a picture from which on ink is its background."""

HEIGHT = (5, 44)
"""Rows of a line of writing, least and most."""

STROKES = 4.0
"""Least strokes in a row of a line, on average."""

CROSSED = (3, 0.7)
"""At least so many strokes in at least this part of a line's rows."""

DENSITY = (0.03, 0.5)
"""Ink's part of a line."""

LEAST_BREAKS = 2.6
"""Least changes from a row to the next over a line's height; the ticks of a ruler have two, begin and end."""

MOST_CHANGE = 1.3
"""Most pixels that change from a row to the next, for each pixel of ink: more is noise."""


_ONES = np.uint64(0x0101010101010101)
_PADDING = 2


@dataclass(frozen=True, slots=True)
class _Counts:
    """What each row of each window holds; windows overlap by all but one cell. Each (H, windows) int32."""

    ink: NDArray[np.int32]
    strokes: NDArray[np.int32]
    changes: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class _Bands:
    """Window, first row and row behind the last of each band of rows: (bands,) each."""

    window: NDArray[np.intp]
    top: NDArray[np.intp]
    bottom: NDArray[np.intp]


def has_writing(frame: NDArray[Any]) -> bool:
    """Whether a picture (H, W) of any real type shows a line of writing, light or dark."""
    step = -(-max(frame.shape) // LARGEST_SIDE)
    small = frame[::step, ::step]
    if min(small.shape) < 2 * CELL:
        return False
    least, greatest = float(small.min()), float(small.max())
    margin = INK * (greatest - least)
    if not margin > 0:  # also where a value is not a number
        return False
    return any(
        _has_lines(scaled >= greatest - margin, scaled >= greatest - FADE * margin)
        or _has_lines(scaled <= least + margin, scaled <= least + FADE * margin)
        for scaled in (small[::scale, ::scale] for scale in SCALES)
    )


def _has_lines(ink: NDArray[np.bool_], faded: NDArray[np.bool_]) -> bool:
    """Whether ink (H, W) stands in lines, on a ground that is not even faded ink."""
    cells = ink.shape[1] // CELL
    ink = np.ascontiguousarray(ink[:, : cells * CELL])
    amount = np.count_nonzero(ink)
    if cells < 2 or amount == 0 or amount > MOST_INK * ink.size:
        return False
    width = min(WINDOW, cells)
    inked = _windowed(_ink(ink), width)
    bands = _bands(inked)
    if not len(bands.window):  # as in most pictures
        return False
    strokes = _strokes(ink, faded[:, : cells * CELL])
    counts = _Counts(inked, _windowed(strokes, width), _windowed(_changes(ink), width))
    return _any_line(counts, bands, width * CELL)


def _ink(ink: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Pixels of ink in each cell: (H, cells)."""
    rows, columns = ink.shape
    # Sixteen pixels of 0 or 1 are two words of eight bytes; a product adds up the bytes of a word.
    words = ink.view(np.uint64).reshape(rows, columns // CELL, CELL // 8)
    return (((words[..., 0] + words[..., 1]) * _ONES) >> np.uint64(56)).astype(np.int32)


def _changes(ink: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Pixels of each cell that are not as the pixel below: (H, cells)."""
    changes = np.zeros_like(ink)
    np.not_equal(ink[1:], ink[:-1], out=changes[:-1])
    return _ink(changes)


def _strokes(ink: NDArray[np.bool_], faded: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Short runs of ink that begin in each cell, with ground within two pixels on both sides: (H, cells)."""
    rows, columns = ink.shape
    inked, ground = _padded(ink), ~_padded(faded)
    steps = np.diff(inked.view(np.int8))
    begins, ends = np.flatnonzero(steps == 1) + 1, np.flatnonzero(steps == -1) + 1
    short = ends - begins <= LONGEST_STROKE
    short &= (ground[begins - 1] | ground[begins - 2]) & (ground[ends] | ground[ends + 1])
    row, column = np.divmod(begins[short], columns + _PADDING)
    cells = columns // CELL
    counts = np.bincount(row * cells + (column - _PADDING) // CELL, minlength=rows * cells)
    return counts.reshape(rows, cells).astype(np.int32)


def _padded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The rows (H, W) one after the other, with nothing before each and behind the last."""
    rows, columns = mask.shape
    padded = np.zeros(rows * (columns + _PADDING) + _PADDING, dtype=np.bool_)
    padded[:-_PADDING].reshape(rows, columns + _PADDING)[:, _PADDING:] = mask
    return padded


def _windowed(counts: NDArray[np.int32], width: int) -> NDArray[np.int32]:
    """Sums over ``width`` neighbouring cells: (H, cells) to (H, cells - width + 1)."""
    sums = np.zeros((counts.shape[0], counts.shape[1] + 1), dtype=np.int32)
    np.cumsum(counts, axis=1, out=sums[:, 1:])
    return np.asarray(sums[:, width:] - sums[:, :-width])


def _any_line(counts: _Counts, bands: _Bands, pixels_across: int) -> bool:
    """Whether one of the bands looks like writing."""

    def total(of_rows: NDArray[Any]) -> NDArray[np.float64]:
        sums = np.zeros((of_rows.shape[0] + 1, of_rows.shape[1]))
        np.cumsum(of_rows, axis=0, out=sums[1:])
        return np.asarray(sums[bands.bottom, bands.window] - sums[bands.top, bands.window])

    height, ink = bands.bottom - bands.top, total(counts.ink)
    density, change = ink / (height * pixels_across), total(counts.changes) / ink
    line = total(counts.strokes) >= STROKES * height
    line &= total(counts.strokes >= CROSSED[0]) >= CROSSED[1] * height
    line &= (density > DENSITY[0]) & (density < DENSITY[1])
    line &= (change * height > LEAST_BREAKS) & (change < MOST_CHANGE)
    return bool(line.any())


def _bands(ink: NDArray[np.int32]) -> _Bands:
    """The bands of a line's height between rows without ink; none touches the border."""
    rows, windows = ink.shape
    inked = np.zeros((rows + 2, windows), dtype=np.int8)
    inked[1:-1] = ink > 1  # one pixel is dust
    steps = np.diff(inked, axis=0).T.ravel()  # window after window, rows + 1 steps each
    window, top = np.divmod(np.flatnonzero(steps == 1), rows + 1)
    bottom = np.flatnonzero(steps == -1) % (rows + 1)
    height = bottom - top
    fits = (height >= HEIGHT[0]) & (height <= HEIGHT[1]) & (top > 0) & (bottom < rows)
    return _Bands(window[fits], top[fits], bottom[fits])

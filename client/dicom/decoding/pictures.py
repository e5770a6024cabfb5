"""From an object to pictures that can be shown: stored values, and how they are to be shown.

Only what cannot be undone later is done here: colours become luminance, tables are looked up, padding becomes
dark. Rescaling, windows and inversion are written down in :class:`~client.dicom.pixels.Display` instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian

from client.dicom.dataset.groups import Groups, groups_of
from client.dicom.dataset.header import binary, holds, quiet, text, whole
from client.dicom.dataset.kinds import is_segmentation
from client.dicom.decoding.display import DEFAULT_WINDOWS
from client.dicom.decoding.layout import PIXEL_KEYWORDS, Layout
from client.dicom.decoding.lookup import looked_up, palette_luminance, table_of
from client.dicom.decoding.luminance import luminance_of_frames
from client.dicom.decoding.stored import Stored, stored_values
from client.dicom.outcomes import Quarantined, Reason
from client.dicom.pixels import Display, Pixels, Window, WindowFunction

Values = NDArray[Any]

_FUNCTIONS: dict[str, WindowFunction] = {"LINEAR_EXACT": "linear-exact", "SIGMOID": "sigmoid"}


def has_pixels(dataset: Dataset) -> bool:
    """Whether the object holds pixels, of whatever kind and quality."""
    return any(holds(dataset, keyword) for keyword in PIXEL_KEYWORDS)


def decode(dataset: Dataset, *, own_window: bool = False) -> Pixels:
    """All frames of an object, grey, as stored as can be, and how they are to be shown.

    Integers of more than 16 bits and double floating point become float32, which holds every integer up to
    2**24 exactly and any other within 6e-8 of its value. A segmentation comes as it is stored: its values are
    labels, whatever palette it brings.

    Args:
        dataset: As :func:`client.dicom.dataset.reading.read` gives it.
        own_window: Show what the file's own first VOI LUT or window shows, whatever its modality.

    Raises:
        Quarantined: no_pixels, truncated, inconsistent, too_large, syntax, undecodable or values.
    """
    try:
        with quiet():
            return _pixels(dataset, stored_values(dataset), own_window)
    except Quarantined:
        raise
    except MemoryError:
        raise Quarantined(Reason.too_large) from None
    # The decoders' edge. What is known to go wrong is coded where it does; what a broken object makes pydicom
    # and numpy raise beyond that is not worth a type of its own, and its words may quote values.
    except Exception:  # noqa: BLE001  coded here
        raise Quarantined(Reason.undecodable) from None


def _pixels(dataset: Dataset, stored: Stored, own_window: bool) -> Pixels:
    values, layout = stored.values, stored.layout
    if is_segmentation(dataset):
        return Pixels(_narrow(values), Display())
    if layout.samples > 1:
        shades = luminance_of_frames(values, stored.photometric, layout.bits)
        return _shades(shades, min(layout.bits, 16))
    if layout.photometric == "PALETTE COLOR":
        shades = palette_luminance(values, dataset, layout, _big_endian(dataset))
        return _shades(shades, 8 * shades.dtype.itemsize)
    return _grey(dataset, values, layout, own_window)


def _shades(shades: Values, bits: int, inverted: bool = False) -> Pixels:
    """Values that are brightness already, 0 black and the greatest of so many bits white."""
    full = float(2**bits - 1)
    window = Window(full / 2, full, "linear-exact")
    return Pixels(np.ascontiguousarray(shades), Display(1.0, 0.0, inverted, window, looked_up=True))


def _grey(dataset: Dataset, values: Values, layout: Layout, own_window: bool) -> Pixels:
    """MONOCHROME1 and MONOCHROME2."""
    inverted = layout.photometric == "MONOCHROME1"
    big_endian = _big_endian(dataset)
    hidden = _hidden(dataset, values, layout)
    slope, intercept = 1.0, 0.0
    modality = table_of(dataset, "ModalityLUTSequence", layout.signed, big_endian)
    if modality is not None:
        values = looked_up(values, modality)
    else:
        values, slope, intercept = _rescaled(dataset, values)
    own = own_window or not _has_default(dataset)
    window = _own_window(dataset) if own else DEFAULT_WINDOWS[text(dataset, "Modality") or ""]
    negative = layout.signed or intercept < 0
    voi = table_of(dataset, "VOILUTSequence", negative, big_endian) if own else None
    if voi is not None:
        shown = _shades(looked_up(values, voi, slope, intercept), voi.bits, inverted)
    else:
        shown = Pixels(_narrow(values), Display(slope, intercept, inverted, window))
    return Pixels(_darkened(shown, hidden), shown.display)


def _big_endian(dataset: Dataset) -> bool:
    return getattr(dataset, "file_meta", {}).get("TransferSyntaxUID") == ExplicitVRBigEndian


def _narrow(values: Values) -> Values:
    """Integers of up to 16 bits as they are, anything else as float32."""
    wide = values.dtype.itemsize > 2
    with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, which nobody shows
        return np.ascontiguousarray(values, np.float32 if wide else values.dtype)


def _rescaled(dataset: Dataset, values: Values) -> tuple[Values, float, float]:
    """The values, and the slope and intercept (0028,1053/1052) that hold for all of them.

    Frames of an enhanced object may each have their own; then they become modality values here, float32.
    """
    groups = groups_of(dataset, len(values))
    pairs = [_rescale(group) for group in (groups if groups[0].enhanced else groups[:1])]
    if len(set(pairs)) == 1:
        return values, *pairs[0]
    modality = np.empty(values.shape, np.float32)
    for index, (slope, intercept) in enumerate(pairs):
        modality[index] = values[index] * np.float32(slope) + np.float32(intercept)
    return modality, 1.0, 0.0


def _rescale(group: Groups) -> tuple[float, float]:
    """Slope and intercept of a frame; a slope of 0 would leave nothing to see and counts as missing."""
    slope = group.number("PixelValueTransformationSequence", "RescaleSlope")
    return slope or 1.0, group.number("PixelValueTransformationSequence", "RescaleIntercept") or 0.0


def _has_default(dataset: Dataset) -> bool:
    """Whether the modality has a default window; that of CT holds for Hounsfield units only."""
    modality = text(dataset, "Modality") or ""
    if modality != "CT":
        return modality in DEFAULT_WINDOWS
    group = groups_of(dataset, 1)[0]
    units = "".join(group.texts("PixelValueTransformationSequence", "RescaleType")[:1])
    intercept = group.number("PixelValueTransformationSequence", "RescaleIntercept")
    return units in {"", "HU"} and intercept is not None and not holds(dataset, "ModalityLUTSequence")


def _own_window(dataset: Dataset) -> Window | None:
    """The file's first window (0028,1050/1051), or None where it has none that makes sense."""
    group = groups_of(dataset, 1)[0]
    centre = group.number("FrameVOILUTSequence", "WindowCenter")
    width = group.number("FrameVOILUTSequence", "WindowWidth")
    if centre is None or width is None or width <= 0:
        return None
    function = "".join(group.texts("FrameVOILUTSequence", "VOILUTFunction")[:1])
    return Window(centre, width, _FUNCTIONS.get(function, "linear"))


def _hidden(dataset: Dataset, values: Values, layout: Layout) -> NDArray[np.bool_] | None:
    """Which pixels are padding, by Pixel Padding Value (0028,0120) up to its Range Limit (0028,0121)."""
    first = _padding(dataset, "PixelPaddingValue", layout)
    if first is None or values.dtype.kind == "f":
        return None
    last = _padding(dataset, "PixelPaddingRangeLimit", layout)
    low, high = sorted((first, first if last is None else last))
    hidden: NDArray[np.bool_] = values == low if low == high else (values >= low) & (values <= high)
    return hidden if hidden.any() else None


def _padding(dataset: Dataset, keyword: str, layout: Layout) -> int | None:
    """A padding value as the stored bits have it; many files write a negative one without its sign."""
    value = whole(dataset, keyword)
    if value is None:
        raw = binary(dataset, keyword)
        value = int.from_bytes(raw[:2], "little") if raw else None
    if value is None:
        return None
    span = 1 << layout.bits
    value %= span
    return value - span if layout.signed and value >= span // 2 else value


def _darkened(pixels: Pixels, hidden: NDArray[np.bool_] | None) -> Values:
    """The frames, with hidden pixels as dark as the darkest that is not."""
    if hidden is None or hidden.all():
        return pixels.frames
    seen = pixels.frames[~hidden]
    dark_is_high = pixels.display.inverted != (pixels.display.slope < 0)
    darkened: Values = np.where(hidden, seen.max() if dark_is_high else seen.min(), pixels.frames)
    return darkened

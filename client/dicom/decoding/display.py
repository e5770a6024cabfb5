"""From stored values to brightness: which values are black and white, by default and as a study states it.

Stored value x is shown as (x - black) / (white - black), cut off below 0 and above 1; a sigmoid window bends
that line. Whoever has other means than numpy, such as a GPU, needs nothing but :func:`black_and_white`,
:func:`stretched` and :func:`is_sigmoid` to do the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.dicom.pixels import Display, Window

DEFAULT_WINDOWS: Mapping[str, Window | None] = MappingProxyType(
    {
        "CT": Window(40, 400),  # soft tissue: the same Hounsfield unit is the same grey at every site
        "MR": None,  # arbitrary units: from the case's own least to its greatest value
        "NM": None,  # counts
        "PT": None,  # activity
    }
)
"""What is shown of a modality (0008,0060) where the study states no window.

None: the case's own least to greatest value. A modality that is not listed: the file's own first VOI LUT
or window, because there it belongs to the picture (CR, DX, MG, US, ...). CT that is not in Hounsfield units,
such as a screen capture, counts as not listed.
"""

_LEAST_GAP = 1e-6
"""Black and white lie apart by at least this fraction of their value, which float32 still tells apart."""


def black_and_white(display: Display, window: Window | None = None) -> tuple[float, float] | None:
    """The stored values that are shown black and white, or None for the case's own (see ``stretched``).

    LINEAR shows c - 0.5 - (w - 1) / 2 black and c - 0.5 + (w - 1) / 2 white, LINEAR_EXACT and SIGMOID
    c - w / 2 and c + w / 2 (DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3), in modality values; stored values are
    (modality value - intercept) / slope. Black is the greater one where ``display`` is inverted.

    Args:
        display: Of the picture.
        window: The study's; it does not hold for what has been looked up in a table.
    """
    chosen = _chosen(display, window)
    if chosen is None:
        return None
    middle = chosen.centre - 0.5 if chosen.function == "linear" else chosen.centre
    half = max(0.0, chosen.width - 1 if chosen.function == "linear" else chosen.width) / 2
    ends = [(value - display.intercept) / display.slope for value in (middle - half, middle + half)]
    gap = _LEAST_GAP * max(1.0, abs(ends[0]))
    if abs(ends[1] - ends[0]) < gap:  # a threshold: what is above the middle is white
        ends[1] = ends[0] + (gap if display.slope > 0 else -gap)
    return (ends[1], ends[0]) if display.inverted else (ends[0], ends[1])


def stretched(display: Display, least: float, greatest: float) -> tuple[float, float]:
    """Black and white of a case that is shown from its least to its greatest stored value."""
    return (greatest, least) if display.inverted != (display.slope < 0) else (least, greatest)


def is_sigmoid(display: Display, window: Window | None = None) -> bool:
    """Whether t = (x - black) / (white - black) is shown as 1 / (1 + exp(-4 (t - 0.5)))."""
    chosen = _chosen(display, window)
    return chosen is not None and chosen.function == "sigmoid"


def brightness(frames: NDArray[Any], display: Display, window: Window | None = None) -> NDArray[np.float32]:
    """(N, H, W) float32 in [0, 1], 0 = black; what is not a number is black, and so is a constant picture.

    Args:
        frames: (N, H, W) stored values. Without a window they are stretched together.
        display: Of the picture.
        window: The study's, if it states one.
    """
    ends = black_and_white(display, window) or _own(frames, display)
    if ends is None:
        return np.zeros(frames.shape, np.float32)
    black, white = ends
    shown = frames.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        shown -= np.float32(black)
        shown *= np.float32(1 / (white - black))
        if is_sigmoid(display, window):
            # The same curve as 1 / (1 + exp(-4 (t - 0.5))), in a form that cannot overflow.
            shown = 0.5 + 0.5 * np.tanh(2 * (shown - np.float32(0.5)))
    return np.clip(np.nan_to_num(shown, copy=False, nan=0.0), 0, 1, out=shown)


def _chosen(display: Display, window: Window | None) -> Window | None:
    return display.window if display.looked_up or window is None else window


def _own(frames: NDArray[Any], display: Display) -> tuple[float, float] | None:
    """Black and white from the frames' own least to greatest finite value; None where there are no two."""
    finite = frames[np.isfinite(frames)] if frames.dtype.kind == "f" else frames
    if finite.size == 0 or finite.min() == finite.max():
        return None
    return stretched(display, float(finite.min()), float(finite.max()))

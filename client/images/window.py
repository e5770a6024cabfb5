"""The VOI transformation: which part of a DICOM picture's values is shown between black and white.

A file may offer several windows or tables; the first is its own first choice. Where it has none, the
picture is stretched from its least to its greatest value.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

Values = NDArray[np.float64]


def shown(dataset: Dataset, values: Values) -> Values:
    """The values as a viewer shows them, 0 for the least shown and 1 for the greatest, not clipped.

    Args:
        dataset: Its VOI LUT Sequence (0028,3010), or Window Center and Width (0028,1050/1051).
        values: (H, W), after the modality transformation.
    """
    if dataset.get("VOILUTSequence"):
        return _looked_up(dataset.VOILUTSequence[0], values, bool(dataset.original_encoding[1]))
    centre, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if centre is None or width is None or width <= 0:
        return stretched(values)
    return windowed(values, centre, width, str(dataset.get("VOILUTFunction") or "LINEAR"))


def windowed(values: Values, centre: float, width: float, function: str = "LINEAR") -> Values:
    """Values through a window (DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3).

    LINEAR: (x - (c - 0.5)) / (w - 1) + 0.5; LINEAR_EXACT: (x - c) / w + 0.5;
    SIGMOID: 1 / (1 + exp(-4 (x - c) / w)).
    """
    if function == "SIGMOID":
        # The same curve, in a form that cannot overflow.
        sigmoid: Values = 0.5 + 0.5 * np.tanh(2 * (values - centre) / width)
        return sigmoid
    if function == "LINEAR_EXACT":
        return (values - centre) / width + 0.5
    # LINEAR with width 1 is a threshold; the tiny divisor keeps it one without a case of its own.
    return (values - (centre - 0.5)) / max(width - 1, 1e-6) + 0.5


def stretched(values: Values) -> Values:
    """Values from their least to their greatest finite one, 0..1; a constant picture is black."""
    finite = values[np.isfinite(values)]
    if finite.size == 0 or finite.min() == finite.max():
        return np.zeros_like(values)
    scaled: Values = (values - finite.min()) / (finite.max() - finite.min())
    return scaled


def _looked_up(item: Dataset, values: Values, little_endian: bool) -> Values:
    """Values through one item of VOI LUT Sequence, 0..1.

    pydicom's `apply_voi` is not used: it wraps round where 8-bit entries follow more than 256 values.
    """
    entries, first, bits = (int(number) for number in item.LUTDescriptor)  # (0028,3002)
    entries = entries or 2**16  # the standard's way of writing 65536 in 16 bits
    data = item.LUTData
    if isinstance(data, bytes):
        packed = len(data) <= entries + 1
        data = np.frombuffer(data, dtype="u1" if packed else "<u2" if little_endian else ">u2")
    table: Values = np.asarray(data, dtype=np.float64)[:entries] / (2**bits - 1)
    index = np.clip(np.rint(values) - first, 0, len(table) - 1)
    found: Values = table[index.astype(np.intp)]
    return found


def _first(value: Any) -> float | None:
    """The first of one or several decimal strings (DS), or None where there is no usable number."""
    if value is None or isinstance(value, str):
        return None
    number = float(next(iter(value), np.nan)) if hasattr(value, "__iter__") else float(value)
    return number if isfinite(number) else None

"""Ages in bands, wide enough that one says little of a patient."""

from __future__ import annotations

BANDS = ((18, "0-17"), (40, "18-39"), (65, "40-64"), (150, "65+"))
"""Age in years below which a band ends, and its name."""

_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
"""Of DICOM's age strings (PS3.5, AS): what their unit is in years."""


def age_band(text: str) -> str:
    """The band of an age: years as ``63`` or ``63.0``, or as DICOM writes it, ``063Y`` or ``018M``.

    "" for anything else.
    """
    stated = text.strip()
    unit = _YEARS.get(stated[-1:], 0.0)
    try:
        years = float(stated[:-1]) * unit if unit else float(stated)
    except ValueError:
        return ""
    if not years >= 0:
        return ""
    return next((name for end, name in BANDS if years < end), "")

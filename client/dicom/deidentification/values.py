"""What becomes of single values: dates, times, numbers, and the dummies that stand where nothing may."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from datetime import date, timedelta

DUMMIES: dict[str, str] = {
    "AS": "000Y",
    "CS": "REMOVED",
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "UR": "https://removed.invalid",
    **dict.fromkeys(("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), "REMOVED"),
}
"""What stands for a value that an object must have (action D), by value representation."""

LONGEST: dict[str, int] = {"SH": 16, "LO": 64, "ST": 1024, "LT": 1024, "UT": 1024}
"""Characters that a text may have (PS3.5 Table 6.2-1); UT may have more, but no description needs them."""

DECIMAL = frozenset({"DS", "IS"})
"""Numbers written with digits."""

BINARY: dict[str, str] = {
    **{"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q"},
    **{"FL": "f", "FD": "d"},
}
"""Numbers written as bytes, by value representation, in the letters of ``struct``."""

_DATE = re.compile(r"([0-9]{4})(\.?)([0-9]{2})\2([0-9]{2})")  # with points: ACR-NEMA
_TIME = re.compile(r"(?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:(?:[0-5][0-9]|60)(?:\.[0-9]{1,6})?)?)?")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_LETTERS = re.compile(rb"(?=.*[A-Za-z])[A-Za-z ^=]{4,}\0*", re.DOTALL)
_FEWEST_LETTERS = {"f": 8, "d": 16}
_AMBIGUOUS_BYTES = 6
"""A table's descriptor (VR US or SS), the longest number whose kind the reader may not know."""


def moved_date(value: str, days: int) -> str | None:
    """A date (VR DA, YYYYMMDD) so many days earlier; None if it is no date."""
    match = _DATE.fullmatch(value.strip())
    if match is None:
        return None
    try:
        moved = date(int(match[1]), int(match[3]), int(match[4])) - timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return moved.isoformat().replace("-", "")


def moved_datetime(value: str, days: int) -> str | None:
    """A date with time of day (VR DT) so many days earlier, without its offset from UTC; None if none."""
    text = re.sub(r"[+-][0-9]{4}$", "", value.strip())
    moved, rest = moved_date(text[:8], days), text[8:]
    if moved is None or (rest and _TIME.fullmatch(rest) is None):
        return None
    return moved + rest


def time_of_day(value: str) -> str | None:
    """A time of day (VR TM, HHMMSS.FFFFFF); None if it is none."""
    text = value.strip().replace(":", "")  # with colons: ACR-NEMA
    return text if _TIME.fullmatch(text) else None


def is_number(value: object) -> bool:
    """Whether a value is nothing but a number: binary, or a string of digits, sign, point and exponent."""
    if isinstance(value, bytes):
        return len(value) <= _AMBIGUOUS_BYTES
    written = getattr(value, "original_string", None)
    if written is not None or isinstance(value, str):
        return _NUMBER.fullmatch(str(value if written is None else written).strip()) is not None
    return isinstance(value, (int, float))


def spells(vr: str, numbers: Sequence[int | float]) -> bool:
    """Whether the bytes of binary numbers are letters: a text that was given a number's representation."""
    kind = BINARY[vr]
    for order in "<>":
        data = struct.pack(f"{order}{len(numbers)}{kind}", *numbers)
        if len(data) >= _FEWEST_LETTERS.get(kind, 4) and _LETTERS.fullmatch(data):
            return True
    return False

"""Numbers, times and lists as people read them. A value that is undefined becomes `DASH`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

DASH = "—"
"""Stands for a value that is undefined."""

_MINUS = "\N{MINUS SIGN}"
_WORDS = [
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]


def metric(value: float | None, digits: int = 3) -> str:
    """``0.850``; metrics have three decimals in tables and two in sentences."""
    return DASH if value is None else f"{value:.{digits}f}"


def signed(value: float | None) -> str:
    """``+0.085`` or ``-0.030`` (with a true minus sign), and ``0.000`` without a sign."""
    if value is None:
        return DASH
    text = f"{abs(value):.3f}"
    return text if float(text) == 0 else ("+" if value > 0 else _MINUS) + text


def plain(value: float) -> str:
    """A measure with three significant digits: ``0.137``, ``0.7``, ``512``, ``2048``."""
    text = f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return f"{float(text):g}" if abs(value) < 1e6 else text


def percent(part: float) -> str:
    """``74 %``, with a space that does not break; a part that would round to none is ``< 1 %``."""
    if 0 < part < 0.005:
        return "<\N{NO-BREAK SPACE}1\N{NO-BREAK SPACE}%"
    return f"{100 * part:.0f}\N{NO-BREAK SPACE}%"


def share(part: int, whole: int) -> str:
    """``part`` of ``whole`` in percent, or a dash if there is no whole."""
    return percent(part / whole) if whole else DASH


def number(value: int) -> str:
    """``12,345``."""
    return f"{value:,}"


def spelled(value: int) -> str:
    """``three``; from thirteen on in digits."""
    return _WORDS[value] if 0 <= value < len(_WORDS) else number(value)


def plural(value: int, noun: str, nouns: str = "") -> str:
    """``1 round`` or ``30 rounds``."""
    return f"{number(value)} {noun if value == 1 else nouns or noun + 's'}"


def listing(names: Sequence[str], limit: int = 6) -> str:
    """``a, b and c``; a long list ends in ``and 994 more``."""
    if len(names) > limit + 1:
        return f"{', '.join(names[:limit])} and {number(len(names) - limit)} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else ""


def capitalised(text: str) -> str:
    """The text with a capital first letter and all others as they are."""
    return text[:1].upper() + text[1:]


def duration(seconds: float | None) -> str:
    """``0.4 s``, ``1 min 1 s``, ``2 h 5 min``, ``3 d 4 h``: two units at most."""
    if seconds is None:
        return DASH
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    total = round(seconds)
    for size, unit, small, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if total >= size:
            rest = total % size // small
            return f"{total // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{total} s"


def moment(timestamp: str | None) -> str:
    """``21 November 2026, 02:00:00 UTC`` of an ISO 8601 time; other text as it is."""
    try:
        time = datetime.fromisoformat(timestamp or "")
    except ValueError:
        return timestamp or DASH
    if time.tzinfo is None:
        return f"{time.day} {time:%B %Y, %H:%M:%S}"
    time = time.astimezone(UTC)
    return f"{time.day} {time:%B %Y, %H:%M:%S} UTC"

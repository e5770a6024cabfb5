"""Numbers and lists as people read them."""

from __future__ import annotations

from collections.abc import Sequence

DASH = "—"


def number(value: int) -> str:
    """``12,345``."""
    return f"{value:,}"


def plural(value: int, noun: str, nouns: str = "") -> str:
    """``1 case`` or ``30 cases``."""
    return f"{number(value)} {noun if value == 1 else nouns or noun + 's'}"


def percent(share: float) -> str:
    """``74 %``, with a space that does not break; a share that would round to none is ``< 1 %``."""
    if 0 < share < 0.005:
        return "<\N{NO-BREAK SPACE}1\N{NO-BREAK SPACE}%"
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def share(part: int, whole: int) -> str:
    """``part`` of ``whole`` in percent, or a dash if there is no whole."""
    return percent(part / whole) if whole else DASH


def plain(value: float) -> str:
    """A measure with three significant digits: ``0.137``, ``0.7``, ``512``, ``2048``."""
    text = f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return f"{float(text):g}" if abs(value) < 1e6 else text


def listing(names: Sequence[str], limit: int = 4) -> str:
    """``a, b and c``; a long list ends in ``and 994 more``."""
    if len(names) > limit + 1:
        return f"{', '.join(names[:limit])} and {number(len(names) - limit)} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else ""

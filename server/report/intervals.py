"""How far a score may be off by chance, and how scores spread over sites.

The intervals treat test cases as independent. Several images of one patient are not, so the true
interval is wider; the page says so where it shows one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import floor, sqrt

from server.report.scores import Interval, Scores

_Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, and the 10th and 90th percentile, of a metric over sites."""

    low: float
    median: float
    high: float


def interval(scores: Scores, key: str, classes: Sequence[str]) -> Interval | None:
    """The 95 % interval of a figure, or None where there is no simple one.

    It is the one that the run has measured by drawing patients; else that of ``accuracy``, or of the
    ``auroc`` of two classes, from the number of cases.
    """
    value = scores.value(key)
    if value is None or scores.n == 0:
        return None
    if key in scores.intervals:
        return scores.intervals[key]
    if key == "accuracy":
        return wilson(value, scores.n)
    if key == "auroc" and len(classes) == 2 and 0 < value < 1:
        negatives, positives = (scores.labels.get(name, 0) for name in classes)
        return hanley_mcneil(value, negatives, positives) if negatives and positives else None
    return None


def wilson(share: float, n: int) -> Interval:
    """Interval of a share of ``n`` cases (Wilson 1927, score interval)."""
    scale = 1 + _Z95**2 / n
    centre = (share + _Z95**2 / (2 * n)) / scale
    reach = _Z95 / scale * sqrt(share * (1 - share) / n + _Z95**2 / (4 * n * n))
    return Interval(max(0.0, centre - reach), min(1.0, centre + reach))


def hanley_mcneil(auroc: float, negatives: int, positives: int) -> Interval:
    """Interval of an AUROC (Hanley and McNeil 1982, Radiology 143:29-36, eq. 1)."""
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    variance = auroc * (1 - auroc) + (positives - 1) * (q1 - auroc**2) + (negatives - 1) * (q2 - auroc**2)
    reach = _Z95 * sqrt(max(0.0, variance) / (positives * negatives))
    return Interval(max(0.0, auroc - reach), min(1.0, auroc + reach))


def spread(values: Iterable[float | None]) -> Spread | None:
    """The spread of the values that are defined, or None if none is."""
    ordered = sorted(value for value in values if value is not None)
    if not ordered:
        return None
    return Spread(*(_quantile(ordered, share) for share in (0.1, 0.5, 0.9)))


def _quantile(ordered: list[float], share: float) -> float:
    """Linear interpolation between the two nearest values (Hyndman and Fan 1996, type 7)."""
    position = share * (len(ordered) - 1)
    below = floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])

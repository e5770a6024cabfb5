"""Which length of an update is out of all measure.

An update is compared with groups of others, each on its own: the other updates of its round, those of earlier
rounds, and its own site's earlier ones. With m the median of a group and MAD the median distance from it,

    factor = norm / m,    z = (norm - m) / (1.4826 max(MAD, m / 10))

(1.4826 MAD is the standard deviation of normal values; the floor keeps a group of equal lengths from making
every other one an outlier). It is out of measure if both exceed ``LIMIT`` in every group there is: a whole
round that trains harder than the last is in measure among its own, and a hospital whose updates are always
long is so among its own.

Lengths grow with the number of steps, so at the most in proportion to the cases behind them. As long as a
site has no earlier updates to be compared with, the lengths of sites with fewer cases are taken as if they
had grown in that proportion. The noise of private training shrinks in the same proportion, so there those of
sites with more cases are, too.

Only what is too long is refused. A short update does no harm, and a site with few cases has one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from common.errors import UpdateRefused

LIMIT = 10.0
"""Of factor and z. Honest factors on the chest X-rays go to 2.4, and to 5.9 with fifty times the cases."""
FEWEST_BEFORE = 5
"""Earlier updates that say what is usual; fewer are no group."""
FEWEST_OWN = 3
"""A site's own earlier updates that say what is usual for it."""
MOST_UNEQUAL = 1000.0
"""Ratio of cases up to which a longer update is explained by them."""
MOST_OF_MODEL = 1000.0
"""As a multiple of the model's own length (or of 1). Training that is of use moves a model by less than its
length; this holds even where there is no group to compare with, as for two sites in the first round."""
_NORMAL, _FLOOR = 1.4826, 0.1

Length = tuple[float, int]
"""Of an update, with its weight in cases."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far a length is from the usual one of a group."""

    factor: float
    z: float

    @property
    def out_of_measure(self) -> bool:
        """Whether it is too long for this group."""
        return min(self.factor, self.z) > LIMIT


def deviations(
    own: Length,
    others: Sequence[Length],
    before: Sequence[Length],
    earlier: Sequence[Length],
    *,
    noised: bool,
) -> list[Deviation]:
    """How far a length is from what is usual in each group, the round's first; empty where too few tell.

    Args:
        own: The length, and its weight.
        others: Of its round.
        before: Of earlier rounds, its own site's among them.
        earlier: Those of its own site.
        noised: Whether the noise of private training is in the lengths.
    """
    known, at_home = len(before) >= FEWEST_BEFORE, len(earlier) >= FEWEST_OWN
    if not others or (len(others) == 1 and not known):
        return []  # two lengths alone would stand against each other
    groups = [others, before] if known else [others]
    if not at_home:
        groups = [[_explained(own, one, noised) for one in group] for group in groups]
    else:
        groups.append([_explained(own, one, noised) for one in earlier])
    return [one for one in (_within(own[0], group) for group in groups) if one is not None]


def check_length(norm: float, model: float, found: Sequence[Deviation]) -> None:
    """Let a length pass that is in measure.

    Args:
        norm: The update's.
        model: The length of the model that it changes.
        found: Its :func:`deviations`.

    Raises:
        UpdateRefused: It is not.
    """
    if not norm <= MOST_OF_MODEL * max(model, 1.0):
        raise UpdateRefused(f"norm of {norm:.3g}, the model's own is {model:.3g}")
    if found and all(one.out_of_measure for one in found):
        least = min(found, key=lambda one: one.factor)
        told = f"{least.factor:.3g} times the usual, robust z {least.z:.3g}"
        raise UpdateRefused(f"norm of {norm:.3g} is out of measure ({told})")


def _within(norm: float, group: Sequence[Length]) -> Deviation | None:
    # An update that changes nothing says nothing about how long others are; nor does one without end.
    usual = [size for size, _ in group if 0 < size < math.inf]
    if not usual:
        return None
    middle = median(usual)
    distance = median(abs(size - middle) for size in usual)
    return Deviation(norm / middle, (norm - middle) / (_NORMAL * max(distance, _FLOOR * middle)))


def _explained(own: Length, other: Length, noised: bool) -> Length:
    """Another's length as long as the numbers of cases may explain that this one's is."""
    ratio = own[1] / other[1]
    return other[0] * min(max(ratio, 1 / ratio if noised else 1.0), MOST_UNEQUAL), other[1]
